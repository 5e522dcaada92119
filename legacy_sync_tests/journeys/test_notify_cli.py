"""Can an administrator without Dagster let cron tell what is wrong, and try out beforehand whether it would arrive?"""

import json
from pathlib import Path

import pytest
from cli_setup import PARENTS, Cli
from notify_setup import Hook

from legacy_sync.demo.four_d_server import FourDServer


@pytest.fixture
def told(cli: Cli, hook: Hook) -> Cli:
    """The command with one channel; what is wrong is told at once."""
    cli.environment["LEGACY_SYNC_NOTIFY"] = hook.url
    change_environment(cli, notifications={"sources": {"after": "0s"}, "mappings": {"after": "0s"}})
    return cli


def change_environment(cli: Cli, **words: object) -> None:
    file = Path(cli.environment["LEGACY_SYNC_MAPPINGS"]) / "environments" / "dev.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **words}))


def test_without_a_channel_it_says_how_to_set_one(cli: Cli) -> None:
    said = cli("notify")
    assert said.code == 2
    assert "no channel for notifications is set" in said.err
    assert "LEGACY_SYNC_NOTIFY" in said.err


def test_failed_run_is_told_and_all_well_is_said(told: Cli, four_d: FourDServer, hook: Hook) -> None:
    said = told("notify")
    assert (said.code, said.out) == (0, "nothing to tell (all is well)\n")
    four_d.faults.add("error_array", table="Artikel_Familie")
    assert told("run", PARENTS).code == 1
    shown = told("notify", "--dry-run").out
    assert "json 1 would be told: legacy_sync dev: four_d is away" in shown
    assert "  next:  " in shown
    assert hook.bodies == []
    said = told("notify", "--json")
    assert said.code == 0
    assert said.json["messages"]["json 1"]["subject"] == hook.subjects[0] == "legacy_sync dev: four_d is away"
    assert [s["kind"] for s in said.json["situations"]] == ["sources"]


def test_broken_mapping_is_told_and_the_rest_is_still_looked_at(told: Cli, four_d: FourDServer, hook: Hook) -> None:
    four_d.faults.add("error_array", table="Artikel_Familie")
    assert told("run", PARENTS).code == 1
    (Path(told.environment["LEGACY_SYNC_MAPPINGS"]) / f"{PARENTS}.yaml").write_text("sorce: {}\n")
    said = told("notify")
    assert said.code == 2
    assert hook.subjects == ["legacy_sync dev: four_d is away (and 1 more)"]
    assert f", two_mappings/{PARENTS}.yaml:1" in hook.last


def test_sample_goes_through_every_channel_and_those_that_fail_are_named(told: Cli, hook: Hook) -> None:
    told.environment["LEGACY_SYNC_HEARTBEAT"] = f"http://{hook.host}/beat"
    said = told("notify", "--test")
    assert said.code == 0
    assert hook.subjects == ["legacy_sync dev: test of the notifications"]
    assert hook.beats == ["/beat"]
    told.environment["LEGACY_SYNC_NOTIFY"] += " json://127.0.0.1:1/closed-and-secret-place nonsense"
    said = told("notify", "--test", "--json")
    assert said.code == 2
    channels = said.json["channels"]
    assert channels["json 1"] is channels["heartbeat"] is None
    assert channels["json 2"]["kind"] == "NotifyFailed"
    assert channels["LEGACY_SYNC_NOTIFY 1"]["kind"] == "SettingsInvalid"
    assert "closed-and-secret-place" not in said.out + said.err


def test_channel_that_fails_is_seen_by_the_exit_code(told: Cli, four_d: FourDServer, hook: Hook) -> None:
    four_d.faults.add("error_array", table="Artikel_Familie")
    told("run", PARENTS)
    hook.status = 503
    said = told("notify")
    assert said.code == 1
    assert "the channel json 1 did not take a message" in said.err
    hook.status = 200
    assert told("notify").code == 0
    assert len(hook.bodies) == 1
