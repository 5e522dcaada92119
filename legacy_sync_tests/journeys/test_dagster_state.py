"""What does Dagster show of a partition that was never loaded, failed or is stale, and of who accepted what?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_setup import FAMILIES, FAMILY_PAIR, Desk, checks, materializations, open_desk
from journey_setup import PARENTS

from legacy_sync.orchestration.partitions import list_partitions

CHECK = dg.AssetCheckKey(FAMILIES, "partitions")


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        desk.journey.family(1)
        yield desk


def partitions(desk: Desk) -> list[str]:
    return list_partitions(desk.journey.workspace.project.get(PARENTS))


def shown(desk: Desk) -> dict[str, str | None]:
    """The colour of each partition as the UI has it."""
    made = desk.definitions.resolve_assets_def(FAMILIES).partitions_def
    assert made is not None
    states = desk.instance.get_status_by_partition(FAMILIES, partitions(desk), made) or {}
    return {name: states[name] and states[name].value for name in states}  # type: ignore[union-attr]


def latest_check(desk: Desk) -> Any:
    """The newest evaluation of the check, out of Dagster's storage."""
    (record,) = desk.instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=1)
    return record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]


def numbers(desk: Desk) -> dict[str, Any]:
    values = latest_check(desk).metadata
    return {name.removeprefix("partitions_"): v.value for name, v in values.items() if name.startswith("partitions_")}


def rows(desk: Desk) -> list[tuple[str, str]]:
    return [(r.data["partition"], r.data["state"]) for r in latest_check(desk).metadata["partitions"].records]


def test_partition_that_was_never_loaded_is_shown_as_such(desk: Desk):
    names = partitions(desk)
    desk.run(FAMILY_PAIR, names[-1])
    assert shown(desk)[names[-1]] == "MATERIALIZED"
    assert shown(desk)[names[0]] is None
    assert numbers(desk) == {"never_loaded": len(names) - 1, "failed": 0, "stale": 0, "loaded": 1}
    assert latest_check(desk).passed is False
    assert "never loaded; materialise them, or `legacy-sync run" in (latest_check(desk).description or "")


def test_check_passes_when_every_partition_is_loaded(desk: Desk):
    names = partitions(desk)
    desk.run(FAMILY_PAIR, names[0], names[-1])
    assert set(shown(desk).values()) == {"MATERIALIZED"}
    assert (latest_check(desk).passed, numbers(desk)["loaded"]) == (True, len(names))


def test_partition_that_failed_last_is_shown_as_such_until_it_is_loaded(desk: Desk):
    names = partitions(desk)
    desk.run(FAMILY_PAIR, names[0], names[-1])
    desk.journey.execute("alter table products_parentproduct rename to elsewhere")
    assert not desk.run(FAMILY_PAIR, names[0]).success
    desk.journey.execute("alter table elsewhere rename to products_parentproduct")
    assert shown(desk)[names[0]] == "FAILED"
    desk.run([FAMILIES], names[1])
    assert (names[0], "failed") in rows(desk)
    desk.run([FAMILIES], names[0])
    assert shown(desk)[names[0]] == "MATERIALIZED"
    assert numbers(desk)["failed"] == 0


def test_partitions_loaded_by_an_older_mapping_are_stale(desk: Desk):
    names = partitions(desk)
    desk.run(FAMILY_PAIR, names[0], names[-1])
    desk.journey.remap(PARENTS, deletes={"max_share": 0.5})
    desk.run([FAMILIES], names[-1])
    assert numbers(desk) == {"never_loaded": 0, "failed": 0, "stale": len(names) - 1, "loaded": 1}
    desk.run([FAMILIES], names[0], names[-1])
    assert latest_check(desk).passed is True


def test_run_from_dagster_notes_who_accepted_what_a_guard_would_stop(desk: Desk):
    names = partitions(desk)
    desk.run(FAMILY_PAIR, names[0], names[-1])
    desk.journey.store.delete("Artikel_Familie", desk.journey.store.rows("Artikel_Familie")[0]["__KEY"])  # type: ignore[arg-type]
    full = {"legacy__Artikel_Familie": {"config": {"full": True}}}
    refused = desk.run(FAMILY_PAIR, names[0], names[-1], config=full)
    assert not refused.success
    config = {"full": True, "accept_shrink": True}
    steps = {"legacy__Artikel_Familie": {"config": config}, FAMILIES.to_python_identifier(): {"config": config}}
    accepted = desk.run(FAMILY_PAIR, names[0], names[-1], config=steps, tags={"legacy_sync/user": "anna"})
    assert accepted.success
    (run,) = desk.journey.query("select accepted_by, dagster_run_id from legacy_sync.run order by id desc limit 1")
    assert (run["accepted_by"], run["dagster_run_id"]) == ("anna", accepted.run_id)
    last = materializations(accepted, FAMILY_PAIR[0])[-1][1]
    assert last["accepted_by"] == "anna"
    assert checks(accepted, FAMILIES)["partitions"].passed
