"""Does the sensor `notifications` tell what only Dagster knows, and is a channel that fails seen in its tick?"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test
from dagster._utils.error import SerializableErrorInfo
from dagster_setup import FAMILIES, FAMILY_PAIR, VARIANTS_ROWS, Desk, open_desk, resources
from journey_setup import PARENTS, VARIANTS
from notify_setup import Hook

from legacy_sync.errors import NotifyFailed
from legacy_sync.mapping.notify_words import DagsterRule
from legacy_sync.notify.situation import Situation
from legacy_sync.orchestration.kept import Kept, read_files
from legacy_sync.orchestration.layout import build_layout
from legacy_sync.orchestration.notifications import build_notifications
from legacy_sync.orchestration.standstill import Standstill, opened_standstill
from legacy_sync.settings import read_settings


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance) -> Iterator[Desk]:
    instance.wipe()
    instance.schedule_storage.wipe()  # type: ignore[union-attr]
    instance.wipe_daemon_heartbeats()
    with open_desk(erp_url, tmp_path, monkeypatch, instance) as desk:
        _ = desk.journey.workspace
        yield desk


def tick(desk: Desk) -> str:
    """One tick of the sensor as the code location makes it; what it says."""
    settings = read_settings()
    version = Kept(settings).keep(read_files(settings))
    sensor = build_notifications(settings, version)
    with dg.build_sensor_context(instance=desk.instance, resources=resources()) as context:
        return str(sensor.evaluate_tick(context).skip_message)


def standing(desk: Desk, now: datetime | None = None, *, from_daemon: bool = True, **rule: object) -> list[Situation]:
    layout = build_layout(desk.journey.workspace.project)
    look = Standstill(desk.instance, layout, DagsterRule.model_validate(rule), now or datetime.now(UTC))
    with desk.journey.workspace.erp() as connection:
        return list(look.find(connection, from_daemon=from_daemon).situations)


def test_without_a_channel_the_sensor_does_nothing(desk: Desk, monkeypatch):
    monkeypatch.delenv("LEGACY_SYNC_NOTIFY", raising=False)
    assert tick(desk).startswith("no channel is set")


def test_sensor_tells_of_a_failed_fetch_with_a_link_to_its_run(desk: Desk, hook: Hook, monkeypatch):
    monkeypatch.setenv("LEGACY_SYNC_NOTIFY", hook.url)
    desk.journey.overlay["notifications"] = {"runs": {"after": "0s"}, "ui": "http://127.0.0.1:3000/"}
    desk.journey.remap(PARENTS, source={"table": "Missing"})
    result = desk.run([dg.AssetKey(["legacy", "Missing"])], "2026-01-01")
    assert not result.success
    assert tick(desk) == f"told json 1: legacy_sync journey: {PARENTS} failed (1 situation)"
    assert f"Dagster: http://127.0.0.1:3000/runs/{result.run_id}" in hook.last
    assert tick(desk) == "nothing to tell (1 situation)"
    assert len(hook.bodies) == 1


def test_channel_that_fails_fails_the_tick(desk: Desk, hook: Hook, monkeypatch):
    monkeypatch.setenv("LEGACY_SYNC_NOTIFY", hook.url)
    desk.journey.overlay["notifications"] = {"runs": {"after": "0s"}}
    desk.journey.remap(PARENTS, source={"table": "Missing"})
    desk.run([dg.AssetKey(["legacy", "Missing"])], "2026-01-01")
    hook.status = 500
    with pytest.raises(Exception, match="the channel json 1 did not take a message") as failure:
        tick(desk)
    assert isinstance(failure.value.__cause__ or failure.value, NotifyFailed)
    hook.status = 200
    assert tick(desk).startswith("told json 1")


def test_broken_edit_is_told_with_file_and_line_while_the_version_before_stays_in_force(
    desk: Desk, hook: Hook, monkeypatch, tmp_path: Path
):
    monkeypatch.setenv("LEGACY_SYNC_NOTIFY", hook.url)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    desk.journey.overlay["notifications"] = {"mappings": {"after": "0s"}}
    desk.journey.close()
    _ = desk.journey.workspace
    settings = read_settings()
    sensor = build_notifications(settings, Kept(settings).keep(read_files(settings)))
    (desk.journey.folder / "mappings" / f"{VARIANTS}.json").write_text('{"sorce": {"table": "T"}}')
    with dg.build_sensor_context(instance=desk.instance, resources=resources()) as context:
        sensor.evaluate_tick(context)
    assert hook.subjects == ["legacy_sync journey: an edit of the mappings is broken"]
    assert f", mappings/{VARIANTS}.json:1" in hook.last


def test_source_that_only_a_sensor_finds_away_is_told_and_so_is_its_return(desk: Desk, hook: Hook, monkeypatch):
    monkeypatch.setenv("LEGACY_SYNC_NOTIFY", hook.url)
    desk.journey.overlay["notifications"] = {"sources": {"after": "0s"}, "settle": "0s", "pause": "0s"}
    desk.journey.close()
    _ = desk.journey.workspace
    desk.journey.server.stop()
    desk.tick()
    assert tick(desk).startswith("told json 1: legacy_sync journey: four_d is away")
    desk.journey.server.start()
    memory = json.loads(desk.cursor or "{}")
    memory["outage"]["not_before"] = 0
    desk.cursor = json.dumps(memory)
    desk.tick()
    assert tick(desk) == "told json 1: legacy_sync journey: over: four_d is away (all is well)"


# --- runs that failed before our code began ----------------------------------------------------


def failed_run(desk: Desk, *keys: dg.AssetKey) -> str:
    """A run that died at its launch."""
    run = create_run_for_test(desk.instance, job_name="__ASSET_JOB", asset_selection=frozenset(keys))
    desk.instance.report_run_failed(run, "the code server is gone")
    return run.run_id


def test_run_that_failed_before_it_began_is_told_until_its_entities_were_tried(desk: Desk):
    desk.journey.family(1)
    run_id = failed_run(desk, *FAMILY_PAIR)
    failed_run(desk, *FAMILY_PAIR)
    (found,) = standing(desk)
    assert found.headline == "a run of __ASSET_JOB failed (2 times)"
    assert found.what == f"the code server is gone; not loaded: {PARENTS}"
    assert found.since.timestamp() == desk.instance.get_run_record_by_id(run_id).end_time  # type: ignore[union-attr]
    desk.journey.run()
    assert standing(desk) == []


def test_run_whose_failure_the_ledger_tells_is_not_told_twice(desk: Desk):
    desk.journey.remap(PARENTS, source={"table": "Missing"})
    assert not desk.run([dg.AssetKey(["legacy", "Missing"]), FAMILIES, VARIANTS_ROWS], "2026-01-01").success
    assert standing(desk) == []
    desk.journey.execute(
        "delete from legacy_sync.fetch_failure"
    )  # a later fetch went well, the rows are not loaded yet
    assert standing(desk) == []


def test_run_of_a_job_without_entities_is_over_with_its_next_run(desk: Desk):
    run = create_run_for_test(desk.instance, job_name="other_job")
    desk.instance.report_run_failed(run, "out of memory")
    assert [s.about for s in standing(desk)] == ["run other_job"]
    create_run_for_test(desk.instance, job_name="other_job", status=DagsterRunStatus.SUCCESS)
    assert standing(desk) == []


# --- sensors, schedules, the daemon ------------------------------------------------------------


def sensor_with_ticks(desk: Desk, name: str, *ticks: tuple[TickStatus, float]) -> None:
    """A sensor that is switched on and had these ticks, each so many seconds ago."""
    target = RegisteredCodeLocationOrigin("here")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(target, "__repository__"), name)
    data = SensorInstigatorData(min_interval=30)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
    desk.instance.add_instigator_state(state)
    for status, ago in ticks:
        error = SerializableErrorInfo("it broke\n", [], "Error") if status == TickStatus.FAILURE else None
        at = time.time() - ago
        desk.instance.create_tick(
            TickData(
                origin.get_id(), name, InstigatorType.SENSOR, status, at, selector_id=state.selector_id, error=error
            )
        )


def test_sensor_that_fails_and_one_that_stands_still_are_told(desk: Desk):
    sensor_with_ticks(desk, "fine", (TickStatus.FAILURE, 60), (TickStatus.SKIPPED, 30))
    sensor_with_ticks(desk, "broken", (TickStatus.SKIPPED, 300), (TickStatus.FAILURE, 90), (TickStatus.FAILURE, 30))
    sensor_with_ticks(desk, "still", (TickStatus.SKIPPED, 3600))
    found = {s.about: s for s in standing(desk)}
    assert {name: s.headline for name, s in found.items()} == {
        "broken": "sensor broken fails",
        "still": "sensor still stands still",
    }
    assert found["broken"].what == "it broke"
    assert round(time.time() - found["broken"].since.timestamp()) in (90, 91)


def test_what_has_to_run_and_is_off_is_told(desk: Desk):
    sensor_with_ticks(desk, "legacy_changes", (TickStatus.SKIPPED, 30))
    found = standing(desk, must_run=["legacy_changes", "sync_products"])
    assert [s.headline for s in found] == ["sync_products is off"]


def test_daemon_that_is_silent_is_told_by_who_looks_from_outside(desk: Desk, tmp_path: Path, monkeypatch):
    from dagster._daemon.types import DaemonHeartbeat

    desk.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "x", []))
    assert standing(desk, from_daemon=False) == []
    later = datetime.now(UTC) + timedelta(minutes=11)
    assert [s.about for s in standing(desk, later, from_daemon=False)] == ["daemon"]
    assert standing(desk, later) == []


def test_dagster_database_that_cannot_be_read_is_told_from_outside(desk: Desk, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    opened = opened_standstill(home, read_settings(), DagsterRule())
    with desk.journey.workspace.erp() as connection, opened as find:
        assert find(connection, datetime.now(UTC)).situations == ()
    (home / "history" / "runs.db").write_text("no database")
    with desk.journey.workspace.erp() as connection, opened_standstill(home, read_settings(), DagsterRule()) as find:
        (found,) = find(connection, datetime.now(UTC)).situations
    assert found.headline == "Dagster's database cannot be reached"
