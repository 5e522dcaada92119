"""Can a person decide in Dagster's launchpad what they could on the command line?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_setup import Desk, failure, open_desk
from journey_setup import PARENTS

KEY = "A" * 32
DECIDE, SETTLE = dg.AssetKey(["decide"]), dg.AssetKey(["settle"])


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """One family whose name both sides changed, and one record that waits in the quarantine."""
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        desk.journey.family(1, Bezeichnung="Hase", UID=KEY)
        desk.journey.run()
        desk.journey.erp_edit("1", name="Häschen")
        desk.journey.edit(KEY, Bezeichnung="Hasi")
        desk.journey.family(2, Nummer=None)
        desk.journey.run()
        yield desk


def launch(desk: Desk, job: str, step: dg.AssetKey, **config: Any) -> dg.ExecuteInProcessResult:
    return desk.definitions.resolve_job_def(job).execute_in_process(
        instance=desk.instance,
        run_config={"ops": {step.path[0]: {"config": config}}},
        tags={"legacy_sync/user": "anna"},
        raise_on_error=False,
    )


def decide(desk: Desk, **config: Any) -> dg.ExecuteInProcessResult:
    return launch(desk, "resolve_conflicts", DECIDE, **config)


def settle(desk: Desk, **config: Any) -> dg.ExecuteInProcessResult:
    return launch(desk, "quarantine_rows", SETTLE, **config)


def metadata(result: dg.ExecuteInProcessResult, step: dg.AssetKey) -> dict[str, Any]:
    (event,) = [e for e in result.events_for_node(step.path[0]) if e.event_type_value == "STEP_OUTPUT"]
    found = event.step_output_data.metadata.items()
    return {n: v.records if isinstance(v, dg.TableMetadataValue) else v.value for n, v in found}


def test_a_conflict_is_decided_by_its_number_and_the_ledger_knows_by_whom(desk: Desk) -> None:
    (number,) = [row["id"] for row in desk.journey.query("select id from legacy_sync.conflict")]
    result = decide(desk, keep="value", value="Hasi-Häschen", ids=[number], comment="the catalogue")
    shown = metadata(result, DECIDE)
    assert (shown["conflicts_decided"], shown["conflicts_waiting"]) == (1, 0)
    (record,) = shown["decided"]
    assert (record.data["number"], record.data["legacy"], record.data["erp"]) == (number, "Hasi", "Häschen")
    assert desk.journey.row("1")["name"] == "Hasi-Häschen"
    (closed,) = desk.journey.query("select winner, decided_by, comment from legacy_sync.conflict")
    assert closed == {"winner": "value", "decided_by": "anna", "comment": "the catalogue"}
    (run,) = desk.journey.query("select dagster_run_id from legacy_sync.run where mode = 'replay'")
    assert run["dagster_run_id"] == result.run_id


def test_conflicts_are_decided_by_a_filter_and_a_dry_run_shows_it(desk: Desk) -> None:
    assert metadata(decide(desk, keep="legacy", entity=PARENTS, column="name", dry_run=True), DECIDE)[
        "conflicts_decided"
    ] == 1  # fmt: skip
    assert desk.journey.row("1")["name"] == "Häschen"
    assert decide(desk, keep="legacy", entity=PARENTS, column="name").success
    assert desk.journey.row("1")["name"] == "Hasi"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"keep": "legacy"}, "it is not clear which conflicts are meant"),
        ({"keep": "value", "every": True}, "it is not clear what counts"),
        ({"keep": "erp", "entity": "sales"}, '"sales" is no entity'),
        ({"keep": "value", "value": "x" * 256, "every": True}, "256 characters, and the column holds 255"),
        ({"keep": "legacy", "ids": [987654]}, "there is no conflict 987654"),
    ],
)
def test_bad_config_fails_with_the_reason_and_writes_nothing(desk: Desk, config: dict[str, Any], text: str) -> None:
    before = desk.journey.places()
    description = failure(decide(desk, **config), DECIDE).user_failure_data.description
    assert text in description
    assert "next:" in description
    assert desk.journey.places() == before


def test_a_decision_for_values_that_changed_fails_and_says_what_waits_now(desk: Desk) -> None:
    desk.journey.erp_edit("1", name="Häschen II")
    result = decide(desk, keep="legacy", every=True)
    assert failure(result, DECIDE).user_failure_data.description == "none of the conflicts was decided"
    (record,) = failure(result, DECIDE).user_failure_data.metadata["waiting"].records
    assert "there was a later change in the ERP" in record.data["why"]
    assert desk.journey.row("1")["name"] == "Häschen II"


def test_parked_rows_are_tried_again(desk: Desk) -> None:
    shown = metadata(settle(desk, act="replay", entity=PARENTS), SETTLE)
    assert (shown["rows"], shown["rows_open"]) == (1, 1)
    desk.journey.edit(f"{2:032X}", Nummer=2)
    desk.journey.run(dry_run=False)
    assert metadata(settle(desk, act="replay", every=True), SETTLE)["rows"] == 0


def test_parked_rows_are_discarded_with_a_comment_only(desk: Desk) -> None:
    (number,) = [row["id"] for row in desk.journey.query("select id from legacy_sync.quarantine")]
    text = failure(settle(desk, act="discard", ids=[number]), SETTLE).user_failure_data.description
    assert "rows are not discarded without a reason" in text
    assert metadata(settle(desk, act="discard", ids=[number], comment="a test"), SETTLE)["rows_discarded"] == 1
    (entry,) = desk.journey.query("select closed_by, comment from legacy_sync.quarantine")
    assert entry == {"closed_by": "anna", "comment": "a test"}
    text = failure(settle(desk, act="replay", ids=[number]), SETTLE).user_failure_data.description
    assert f"parked row {number} is discarded already" in text
