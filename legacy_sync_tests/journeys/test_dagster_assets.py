"""What does a materialisation do, show and say, whether it succeeds or not?"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster_setup import (
    FAMILIES,
    FAMILIES_TABLE,
    FAMILY_PAIR,
    VARIANT_PAIR,
    VARIANTS_ROWS,
    Desk,
    checks,
    failure,
    materializations,
    open_desk,
)
from journey_setup import PARENTS, VARIANTS, Journey

from legacy_sync.sync.windows import list_windows, today_of

FIRST, SECOND, THIRD = "2026-01-01", "2026-02-01", "2026-03-01"


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        yield desk


def on(desk: Desk, month: int) -> Journey:
    """What is saved in 4D from now on is saved in that month of 2026."""
    desk.journey.store.clock.set(datetime(2026, month, 10, 9, tzinfo=UTC))
    return desk.journey


def test_definitions_can_be_loaded_without_any_server(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    desk.journey.server.stop()
    dg.Definitions.validate_loadable(desk.definitions)


def test_single_partition_shows_numbers_schema_and_parked_rows(desk: Desk):
    on(desk, 2).family(1)
    key = on(desk, 2).family(2, Bezeichnung="")
    result = desk.run(FAMILY_PAIR, SECOND)
    ((partition, shown),) = materializations(result, FAMILIES)
    assert partition == SECOND
    assert (shown["rows_read"], shown["rows_inserted"], shown["rows_parked"]) == (2, 1, 1)
    assert shown["dagster/partition_row_count"] == 2
    assert shown["dagster/row_count"] == 1
    assert shown["watermark"] == "2026-02-10"
    assert shown["parked_by_reason"] == {"required": 1}
    assert {"seconds_stage", "seconds_plan", "seconds_apply", "rows_per_second"} <= shown.keys()
    types = {c.name: c.type for c in shown["dagster/column_schema"].columns}
    assert types["sku"] == "character varying(50)"
    event = result.asset_materializations_for_node("erp__products_parentproduct")[0]
    assert [r.data["key"] for r in event.metadata["parked"].records] == [key]  # type: ignore[union-attr]


def test_fetch_shows_requests_bytes_and_seconds(desk: Desk):
    on(desk, 2).family(1)
    ((partition, shown),) = materializations(desk.run(FAMILY_PAIR, SECOND), FAMILIES_TABLE)
    assert (partition, shown["rows_read"], shown["mode"]) == (SECOND, 1, "full")
    assert shown["requests"] >= 1
    assert shown["bytes"] > 100
    assert shown["dagster/partition_row_count"] == 1


def test_load_shows_what_it_cost_and_how_far_behind_the_erp_is(desk: Desk):
    on(desk, 2).family(1)
    desk.run(FAMILY_PAIR, SECOND)
    result = desk.run(FAMILY_PAIR, SECOND)
    ((_, fetched),) = materializations(result, FAMILIES_TABLE)
    ((_, shown),) = materializations(result, FAMILIES)
    assert (shown["requests"], shown["bytes"]) == (fetched["requests"], fetched["bytes"])
    assert (fetched["rows_fetched"], shown["rows_fetched"], shown["rows_changed"]) == (1, 1, 0)
    assert {"seconds_fetch", "seconds_transform", "seconds_stage", "seconds_plan", "seconds_apply"} <= shown.keys()
    assert "lag_seconds" not in shown  # one month says nothing of the others


def test_range_with_all_changes_shows_the_lag(desk: Desk):
    on(desk, 2).family(1)
    everything = desk.journey.workspace.project.get(PARENTS)
    keys = [w.partition for w in list_windows(everything, today_of(everything, datetime.now(UTC)))]
    for _ in range(2):
        result = desk.run(FAMILY_PAIR, keys[0], keys[-1])
    lags = [
        shown["whole_run"]["lag_seconds"]
        for asset in (FAMILIES_TABLE, FAMILIES)
        for _, shown in materializations(result, asset)[-1:]
    ]
    assert 0 < lags[1] < lags[0] < 300


def test_range_gives_each_partition_its_own_numbers(desk: Desk):
    on(desk, 1).family(1)
    on(desk, 3).family(2)
    on(desk, 3).family(3)
    result = desk.run(FAMILY_PAIR, FIRST, THIRD)
    shown = [(p, m["rows_inserted"]) for p, m in materializations(result, FAMILIES) if "rows_inserted" in m]
    assert shown == [(FIRST, 1), (SECOND, 0), (THIRD, 2)]
    whole = [m["whole_run"]["rows_inserted"] for _, m in materializations(result, FAMILIES) if "whole_run" in m]
    assert whole == [3, 3, 3]
    assert [p for p, m in materializations(result, FAMILIES) if "committed" in m] == [FIRST, SECOND, THIRD]


def test_partitions_committed_before_a_failure_stay_green(desk: Desk):
    on(desk, 1).family(1)
    for number in range(10, 40):
        on(desk, 2).family(number, Bezeichnung="")
    result = desk.run(FAMILY_PAIR, FIRST, THIRD)
    assert not result.success
    assert "30 of 30 rows cannot be used" in failure(result, FAMILIES).user_failure_data.description
    green = desk.instance.get_materialized_partitions(FAMILIES)
    assert green == {FIRST}
    assert desk.journey.skus() == ["1"]


def test_away_server_is_tried_again_and_then_fails_with_our_words(desk: Desk):
    desk.journey.family(1)
    _ = desk.definitions
    desk.journey.server.stop()
    result = desk.run(FAMILY_PAIR, SECOND)
    retries = [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    failed = failure(result, FAMILIES_TABLE)
    assert len(retries) == 2
    assert "the 4D server did not answer" in failed.user_failure_data.description
    assert "(tried 2 times in 0.0 s) (the step was tried 3 times in " in failed.user_failure_data.description
    assert "\n  where: " in failed.user_failure_data.description
    assert failed.user_failure_data.metadata["kind"].value == "SourceUnavailable"
    assert desk.journey.workspace.landing.partitions("Artikel_Familie") == []
    assert desk.journey.skus() == []


def test_mapping_says_how_often_a_step_is_started_again(desk: Desk):
    desk.journey.remap(PARENTS, rerun={"attempts": 2, "first_pause": "10ms"})
    desk.journey.family(1)
    _ = desk.definitions
    desk.journey.server.stop()
    result = desk.run(FAMILY_PAIR, SECOND, patience=None)
    assert "(the step was tried 2 times in " in failure(result, FAMILIES_TABLE).user_failure_data.description


def test_step_is_not_started_again_after_its_deadline(desk: Desk):
    desk.journey.remap(PARENTS, rerun={"first_pause": "2m", "deadline": "1m"})
    desk.journey.family(1)
    _ = desk.definitions
    desk.journey.server.stop()
    result = desk.run(FAMILY_PAIR, SECOND, patience=None)
    assert [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"] == []
    assert "the step was tried" not in failure(result, FAMILIES_TABLE).user_failure_data.description


def test_failed_partition_is_materialised_again_and_goes_on_where_it_ended(desk: Desk):
    for month in (1, 2, 3):
        on(desk, month).family(month)
    desk.journey.execute(
        "create function stop() returns trigger language plpgsql as"
        " $$ begin raise exception 'closed for stocktaking' using errcode = '57014'; end $$;"
        " create trigger t before insert on products_parentproduct for each row when (new.sku = '2')"
        " execute function stop()"
    )
    assert not desk.run(FAMILY_PAIR, FIRST, THIRD).success
    assert desk.instance.get_materialized_partitions(FAMILIES) == {FIRST}
    desk.journey.execute("drop trigger t on products_parentproduct")
    assert desk.run((FAMILIES,), SECOND).success
    assert desk.journey.skus() == ["1", "2"]
    assert desk.run((FAMILIES,), FIRST, THIRD).success
    assert desk.journey.skus() == ["1", "2", "3"]
    assert desk.instance.get_materialized_partitions(FAMILIES) == {FIRST, SECOND, THIRD}


def test_server_that_comes_back_in_time_is_forgiven(desk: Desk):
    on(desk, 2).family(1)
    desk.journey.server.faults.add("http_500", table="Artikel_Familie", times=3)
    assert desk.run(FAMILY_PAIR, SECOND).success
    assert desk.journey.skus() == ["1"]


def test_mapping_that_no_longer_fits_fails_at_once_and_writes_nothing(desk: Desk):
    on(desk, 2).family(1)
    desk.journey.execute("alter table products_parentproduct rename column name_en to name_english")
    result = desk.run(FAMILY_PAIR, SECOND)
    text = failure(result, FAMILIES).user_failure_data.description
    assert 'no column "name_en"' in text
    assert not [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]
    assert desk.journey.skus() == []


def test_landed_rows_can_be_loaded_while_the_server_is_away(desk: Desk):
    on(desk, 2).family(1)
    desk.run([FAMILIES_TABLE], SECOND)
    desk.journey.server.stop()
    result = desk.run([FAMILIES], SECOND)
    assert result.success
    assert desk.journey.skus() == ["1"]
    assert checks(result, FAMILIES)["reconciliation"].description.startswith(
        "not compared: the 4D server did not answer"
    )


def test_full_option_fetches_everything_again(desk: Desk):
    on(desk, 11).family(1)
    desk.run(FAMILY_PAIR, "2026-11-01")
    config = {FAMILIES_TABLE.to_python_identifier(): {"config": {"full": True}}}
    modes = [
        materializations(desk.run(FAMILY_PAIR, "2026-11-01", config=chosen), FAMILIES_TABLE)[0][1]["mode"]
        for chosen in ({}, config)
    ]
    assert modes == ["incremental", "full"]


def test_lines_of_the_sync_are_in_the_event_log(desk: Desk):
    on(desk, 2).family(1)
    result = desk.run(FAMILY_PAIR, SECOND)
    lines = [entry.user_message for entry in desk.instance.all_logs(result.run_id)]
    assert any(line.startswith("legacy/Artikel_Familie: 1 rows fetched") for line in lines)
    assert any(line.startswith(f"erp/{PARENTS}: 1 read, 1 inserted") for line in lines)


def test_run_of_the_ledger_names_the_run_of_dagster(desk: Desk):
    result = desk.run(FAMILY_PAIR, SECOND)
    assert [r["dagster_run_id"] for r in desk.journey.query("select * from legacy_sync.run")] == [result.run_id]


@pytest.mark.parametrize("parents", [{"type": "none"}, {"type": "key_range", "buckets": 4}])
def test_child_runs_alone_whatever_partitions_its_parent_has(desk: Desk, parents: dict[str, object]):
    desk.journey.remap(PARENTS, partitions=parents)
    desk.journey.remap(VARIANTS, adoption={"policy": "legacy_wins"})
    family = on(desk, 2).family(1)
    keys = (None, None) if parents["type"] == "none" else ("k00", "k03")
    assert desk.run(FAMILY_PAIR, *keys).success
    on(desk, 2).variant(7, family)
    assert desk.run(VARIANT_PAIR, FIRST, THIRD).success
    assert desk.journey.skus(VARIANTS) == ["7"]


def test_unpartitioned_parent_and_child_with_months_share_a_run(desk: Desk):
    desk.journey.remap(PARENTS, partitions={"type": "none"})
    on(desk, 2).variant(7, on(desk, 2).family(1))
    assert desk.run([*FAMILY_PAIR, *VARIANT_PAIR], SECOND).success
    assert desk.journey.skus(VARIANTS) == ["7"]


def test_parked_rows_warn_and_do_not_fail_the_run(desk: Desk):
    on(desk, 2).family(1, Bezeichnung="")
    result = desk.run(FAMILY_PAIR, SECOND)
    check = checks(result, FAMILIES)["parked_rows"]
    assert result.success
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["rows_waiting"].value == 1
    again = checks(desk.run(FAMILY_PAIR, THIRD), FAMILIES)["parked_rows"]
    assert (again.passed, again.metadata["rows_parked"].value) == (False, 0)


def test_broken_rule_warns_with_its_count(desk: Desk):
    on(desk, 2).family(1, Gewicht=-3)
    result = desk.run(FAMILY_PAIR, SECOND)
    found = checks(result, FAMILIES)
    assert (found["rule_weight_not_negative"].passed, found["rule_sku_format"].passed) == (False, True)
    assert found["rule_weight_not_negative"].metadata["rows_broken"].value == 1
    assert result.success


def test_reference_that_links_nothing_is_an_error(desk: Desk):
    on(desk, 2).variant(7, "F" * 32)
    found = checks(desk.run(VARIANT_PAIR, SECOND), VARIANTS_ROWS)["link_rate"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.metadata["link_rate_parent_id"].value == 0


def test_open_conflict_warns_with_all_three_values(desk: Desk):
    key = on(desk, 2).family(1)
    desk.run(FAMILY_PAIR, SECOND)
    desk.journey.erp_edit("1", name="from the ERP")
    on(desk, 2).edit(key, Bezeichnung="from 4D")
    found = checks(desk.run(FAMILY_PAIR, SECOND), FAMILIES)["conflicts_open"]
    (record,) = found.metadata["conflicts_open"].records
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert [record.data[side] for side in ("base", "legacy", "erp")] == ["Familie 1", "from 4D", "from the ERP"]


def test_reconciliation_names_what_is_missing_on_either_side(desk: Desk):
    keys = [on(desk, 2).family(number) for number in (1, 2, 3)]
    assert checks(desk.run(FAMILY_PAIR, SECOND), FAMILIES)["reconciliation"].passed
    new = on(desk, 2).family(4)
    desk.journey.store.delete("Artikel_Familie", keys[0])
    desk.journey.execute("delete from products_parentproduct where sku = '2'")
    result = desk.definitions.resolve_job_def("reconcile_products").execute_in_process(instance=desk.instance)
    found = checks(result, FAMILIES)["reconciliation"]
    rows = {(r.data["difference"], r.data["key"]) for r in found.metadata["differences"].records}
    assert rows == {("new", new), ("gone", keys[0]), ("erp_row_deleted", keys[1])}
    assert (found.passed, found.severity, found.metadata["rows_legacy"].value) == (
        False,
        dg.AssetCheckSeverity.ERROR,
        3,
    )


def reconciled(desk: Desk, **config: bool) -> dg.AssetCheckEvaluation:
    job = desk.definitions.resolve_job_def("reconcile_products")
    ops = {f"erp__{PARENTS}_reconciliation": {"config": config}}
    result = job.execute_in_process(instance=desk.instance, run_config={"ops": ops})
    return checks(result, FAMILIES)["reconciliation"]


def test_reconciliation_of_values_warns_of_a_lag_and_fails_for_a_difference(desk: Desk):
    key = on(desk, 2).family(1)
    desk.run(FAMILY_PAIR, SECOND)
    desk.journey.erp_edit("1", name_en="from the ERP")
    assert reconciled(desk, values=True).passed
    on(desk, 2).edit(key, Bezeichnung="from 4D")
    assert reconciled(desk).passed
    found = reconciled(desk, values=True)
    (record,) = found.metadata["differences"].records
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert [record.data[name] for name in ("difference", "key", "column", "legacy", "erp")] == [
        "lag", key, "name", "from 4D", "Familie 1",
    ]  # fmt: skip


def test_jobs_leave_the_reconciliation_out(desk: Desk):
    result = desk.definitions.resolve_job_def("sync_all").execute_in_process(
        instance=desk.instance, partition_key=SECOND
    )
    names = {e.check_name for e in result.get_asset_check_evaluations()}
    assert "parked_rows" in names
    assert "reconciliation" not in names
