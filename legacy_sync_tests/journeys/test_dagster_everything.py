"""Does one job bring everything, whatever partitions the tables have, and leave out only what builds on a failure?"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_setup import FAMILIES, VARIANTS_ROWS, Desk, failure, open_desk
from journey_setup import PARENTS, VARIANTS

STEP = dg.AssetKey(["waves"])


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Families in calendar months, their variants in slices of a number."""
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        numbers = {"type": "number_range", "attribute": "Nummer", "size": 100, "count": 3}
        desk.journey.remap(VARIANTS, partitions=numbers)
        yield desk


def sync_everything(desk: Desk, *, full: bool = False) -> dg.ExecuteInProcessResult:
    job = desk.definitions.resolve_job_def("sync_everything")
    config = {"ops": {"waves": {"config": {"full": full}}}}
    return job.execute_in_process(instance=desk.instance, run_config=config, raise_on_error=False)


def jobs_run(desk: Desk) -> list[str]:
    """The runs so far, oldest first, without those of the job itself."""
    runs = sorted(desk.instance.get_run_records(), key=lambda record: record.storage_id)
    return [r.dagster_run.job_name for r in runs if r.dagster_run.job_name != "sync_everything"]


def test_one_click_runs_each_wave_parents_first(desk: Desk):
    desk.journey.variant(150, desk.journey.family(1))
    assert sync_everything(desk).success
    assert jobs_run(desk) == ["sync_all_by_month", "sync_all_by_number"]
    assert desk.journey.skus(VARIANTS) == ["150"]
    assert desk.instance.get_materialized_partitions(VARIANTS_ROWS) == {"n00", "n01", "n02"}
    assert "2026-01-01" in desk.instance.get_materialized_partitions(FAMILIES)


def test_second_click_asks_for_changes_only_and_full_for_everything(desk: Desk):
    key = desk.journey.family(1)
    sync_everything(desk)
    desk.journey.edit(key, silent=True, modified_date="1!2!2026", Bezeichnung="still")
    places = desk.journey.places(PARENTS)
    assert sync_everything(desk).success
    assert desk.journey.places(PARENTS) == places
    assert sync_everything(desk, full=True).success
    assert desk.journey.row("1")["name"] == "still"


def test_what_builds_on_a_failure_is_left_out_and_said(desk: Desk):
    desk.journey.execute("alter table products_parentproduct rename column name_en to name_english")
    result = sync_everything(desk)
    text = failure(result, STEP).user_failure_data.description
    assert text == f"failed: {PARENTS}; not run, since they build on these: {VARIANTS}"
    assert jobs_run(desk) == ["sync_all_by_month"]


def test_failed_fetch_counts_as_a_failure_of_its_entities(desk: Desk):
    desk.journey.family(1)
    desk.journey.server.faults.add("http_500", table="Artikel_Variante")
    text = failure(sync_everything(desk), STEP).user_failure_data.description
    assert text == f"failed: {VARIANTS}"
    assert desk.journey.skus() == ["1"]
