"""Do `undo`, `show` and `export`, and the job `undo_runs`, do and say what they promise?"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from cli_setup import Cli
from journey_setup import PARENTS, VARIANTS, Journey

from legacy_sync.orchestration.build import build_definitions
from legacy_sync.settings import read_settings


@pytest.fixture
def typed(bare_cli: Cli, journey: Journey) -> Cli:
    """The command, over both ends of the journey."""
    journey.workspace  # noqa: B018 writes the mappings
    bare_cli.environment = journey.environ
    return bare_cli


def two_wrong(journey: Journey) -> int | None:
    keys = [journey.family(n) for n in (1, 2)]
    journey.run()
    for key in keys:
        journey.edit(key, Bezeichnung="Irrtum")
    return journey.run().run_id


# --- undo ----------------------------------------------------------------------------------------


def test_undo_says_what_it_did_and_what_the_next_sync_does(typed: Cli, journey: Journey):
    run = two_wrong(journey)
    said = typed("undo", str(run), "--yes")
    assert said.code == 0
    assert "undone, by run 3 of products_parentproduct" in said.out
    assert "the next sync: restored values count as edits made in the ERP: they stay, also in a full run" in said.out
    assert "4D's values again: `legacy-sync undo 3` does again what was undone, as it was" in said.out
    assert journey.row("1")["name"] == "Familie 1"


def test_dry_run_shows_every_value_and_writes_nothing(typed: Cli, journey: Journey):
    run = two_wrong(journey)
    said = typed("undo", str(run), "--dry-run")
    assert (said.code, journey.row("1")["name"]) == (0, "Irrtum")
    assert "Irrtum  Familie 1" in said.out
    assert f"next: `legacy-sync undo {run}` does this" in said.out


def test_rows_that_changed_since_are_listed_and_end_with_an_error(typed: Cli, journey: Journey):
    run = two_wrong(journey)
    journey.erp_edit("1", name="besser")
    said = typed("undo", str(run), "--yes")
    assert (said.code, journey.row("2")["name"]) == (1, "Irrtum")
    assert 'name is "besser" in the ERP, not "Irrtum"' in said.out
    assert f"`legacy-sync undo {run} --skip-changed` to leave these rows out" in said.out
    document = typed("undo", str(run), "--json", "--yes", "--skip-changed").json
    assert (document["restored"], document["refused"], document["written"]) == (1, 1, True)


def test_nobody_is_surprised_by_an_undo_that_did_not_ask(typed: Cli, journey: Journey):
    run = two_wrong(journey)
    assert (typed("undo", str(run)).code, journey.row("1")["name"]) == (2, "Irrtum")
    said = typed("undo", "77", "--yes", "--json")
    assert (said.code, said.json["error"]["kind"]) == (2, "RowNotFound")


def test_job_undoes_by_launchpad_config_and_begins_as_a_dry_run(typed: Cli, journey: Journey, monkeypatch: Any):
    run = two_wrong(journey)
    for name, value in journey.environ.items():
        monkeypatch.setenv(name, value)
    job = build_definitions(read_settings(journey.environ)).resolve_job_def("undo_runs")

    def execute(**config: Any) -> dg.ExecuteInProcessResult:
        return job.execute_in_process({"ops": {"undo": {"config": {"ids": [run], **config}}}}, raise_on_error=False)

    assert execute().success
    assert journey.row("1")["name"] == "Irrtum"
    journey.erp_edit("1", name="besser")
    refused = execute(dry_run=False)
    assert not refused.success
    assert "1 rows changed since: nothing was written" in str(refused.all_events)
    assert execute(dry_run=False, skip_changed=True).success
    assert (journey.row("1")["name"], journey.row("2")["name"]) == ("besser", "Familie 2")


# --- show ----------------------------------------------------------------------------------------


def test_life_of_a_record_has_every_run_and_both_sides(typed: Cli, journey: Journey):
    key = journey.family(1)
    variant = journey.variant(11, key)
    journey.run_all()
    journey.edit(variant, VARIANTS, Bezeichnung="neu")
    journey.run(VARIANTS)
    journey.erp_edit("11", VARIANTS, name="von Hand")
    journey.edit(variant, VARIANTS, Bezeichnung="noch neuer")
    journey.run(VARIANTS)
    life = typed("show", VARIANTS, variant, "--json").json
    events = [(e["kind"], e.get("erp_table"), [v["column"] for v in e["values"]]) for e in life["events"]]
    assert events == [
        ("insert", None, []),
        ("backfill", PARENTS, ["legacy_base_sku"]),
        ("update", VARIANTS, ["name"]),
    ]
    (name,) = [v for v in life["values"] if v["column"] == "name"]
    assert (name["legacy"], name["erp"], name["agreed"]) == ("neu", "von Hand", "neu")
    assert [(c["status"], c["legacy_value"]) for c in life["conflicts"]] == [("open", "noch neuer")]
    assert [(p["column"], p["legacy_key"]) for p in life["parents"]] == [("parent_id", key)]
    assert len(life["landed"]) == 3
    said = typed("show", VARIANTS, "--erp-key", life["erp_key"])
    assert f"{VARIANTS} {variant} is row {life['erp_key']} of {VARIANTS}" in said.out
    assert "edited in the ERP" in said.out


def test_parked_record_is_shown_with_its_reason(typed: Cli, journey: Journey):
    key = journey.family(1, Nummer=None)
    journey.run()
    said = typed("show", PARENTS, key)
    assert "was never loaded" in said.out
    assert "required" in said.out


def test_unknown_key_is_answered_with_near_ones(typed: Cli, journey: Journey):
    key = journey.family(4711)
    journey.run()
    said = typed("show", PARENTS, "4711", "--json")
    assert (said.code, said.json["error"]["kind"]) == (2, "RowNotFound")
    assert f"{key} (its sku is 4711)" in said.json["error"]["problems"][0]["next_step"]
    assert key in typed("show", PARENTS, key[-6:], "--json").json["error"]["problems"][0]["next_step"]
    row = journey.erp_insert(PARENTS, sku="9", name="im ERP")
    assert "it was made there" in typed("show", PARENTS, "--erp-key", str(row)).err


# --- export --------------------------------------------------------------------------------------


def test_audit_trail_has_a_line_for_each_value(typed: Cli, journey: Journey):
    run = two_wrong(journey)
    rows = list(csv.DictReader(io.StringIO(typed("export", "changes", "--run", str(run)).out)))
    assert {(r["run"], r["kind"], r["column_name"], r["before"], r["after"]) for r in rows} == {
        (str(run), "update", "name", f"Familie {n}", "Irrtum") for n in (1, 2)
    }
    assert typed("export", "changes", "--since", "2999-01-01").out.count("\n") == 1


def test_texts_are_no_formulas_in_a_spreadsheet_and_numbers_stay_numbers(typed: Cli, journey: Journey):
    key = journey.family(1)
    journey.run()
    journey.edit(key, Bezeichnung='=HYPERLINK("http://example.org")', Beschreibung="-1.5")
    journey.run()
    rows = {row["column_name"]: row["after"] for row in csv.DictReader(io.StringIO(typed("export", "changes").out))}
    assert rows == {"name": '\'=HYPERLINK("http://example.org")', "description": "-1.5"}
    lines = [json.loads(line) for line in typed("export", "changes", "--format", "json").out.splitlines()]
    assert '=HYPERLINK("http://example.org")' in {line["after"] for line in lines}


@pytest.mark.parametrize("what", ["runs", "changes", "quarantine", "conflicts", "bindings"])
def test_everything_can_be_exported_to_a_file_that_is_not_overwritten(
    typed: Cli, journey: Journey, what: str, tmp_path: Path
):
    key = journey.family(1)
    journey.family(2, Nummer=None)
    journey.run()
    journey.erp_edit("1", name="von Hand")
    journey.edit(key, Bezeichnung="neu", aktiv=False)
    journey.run()
    for form in ("csv", "json", "parquet"):
        file = tmp_path / f"{what}.{form}"
        assert typed("export", what, "--format", form, "--output", str(file)).code == 0
        assert typed("export", what, "--format", form, "--output", str(file)).code == 2
        assert (
            typed("export", what, "--format", form, "--output", str(file), "--overwrite", "--entity", PARENTS).code == 0
        )
    rows = pq.read_table(tmp_path / f"{what}.parquet").num_rows
    assert rows == len((tmp_path / f"{what}.json").read_text().splitlines()) > 0
