"""When does nothing start by itself? While a source is in maintenance or away, and before what comes first is fresh."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster_setup import FAMILY_PAIR, VARIANT_PAIR, Desk, open_desk, resources
from journey_setup import PARENTS, VARIANTS

from legacy_sync.errors import MappingInvalid

BERLIN = ZoneInfo("Europe/Berlin")
ALWAYS = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}]


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        for entity in (PARENTS, VARIANTS):
            desk.journey.remap(entity, partitions={"type": "none"})
        desk.journey.family(1)
        yield desk


def tick_of_schedule(desk: Desk, name: str = "sync_products", at: datetime | None = None) -> Any:
    """What a schedule does at a moment."""
    moment = at or datetime.now(UTC)
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(instance=instance, resources=resources(), scheduled_execution_time=moment) as context,
    ):
        return desk.definitions.resolve_schedule_def(name).evaluate_tick(context)


def maintain(desk: Desk, windows: list[dict[str, Any]]) -> None:
    desk.journey.overlay["sources"]["four_d"]["maintenance"] = windows
    desk.journey.close()


def test_sensor_leaves_a_source_in_maintenance_alone_and_says_until_when(desk: Desk):
    now = datetime.now(BERLIN)
    maintain(desk, [{"from": f"{now - timedelta(hours=1):%H:%M}", "to": f"{now + timedelta(hours=2):%H:%M}"}])
    before = len(desk.journey.server.log)
    result = desk.tick()
    until = f"{now + timedelta(hours=2):%Y-%m-%d %H:%M %Z}"
    assert result.run_requests == []
    assert result.skip_message.startswith(f"the source four_d is in maintenance until {until}")
    assert '  where: "maintenance" of ' in result.skip_message
    assert len(desk.journey.server.log) == before
    maintain(desk, [])
    assert len(desk.tick().run_requests) == 1


def test_schedule_leaves_a_source_in_maintenance_alone(desk: Desk):
    desk.journey.remap(PARENTS, schedule={"every": "5m"})
    maintain(desk, [{"cron": "0 1 * * *", "for": "90m"}])
    inside = datetime(2026, 10, 25, 1, 30, tzinfo=BERLIN)
    assert "in maintenance until 2026-10-25 02:30 CEST" in tick_of_schedule(desk, at=inside).skip_message
    outside = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    assert [set(r.asset_selection) for r in tick_of_schedule(desk, at=outside).run_requests] == [set(FAMILY_PAIR)]


def test_run_by_hand_is_allowed_in_maintenance_but_warned(desk: Desk, caplog: pytest.LogCaptureFixture):
    maintain(desk, ALWAYS)
    with caplog.at_level(logging.WARNING, "legacy_sync"):
        assert desk.run(FAMILY_PAIR).success
    (text,) = {r.getMessage() for r in caplog.records if "maintenance" in r.getMessage()}
    assert text.startswith("the source four_d is in maintenance until ")
    assert desk.journey.skus() == ["1"]


def test_source_that_is_away_holds_up_no_other(desk: Desk, tmp_path: Path):
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "tags.csv").write_text("Name,Tag\neins,2026-01-01\n")
    write_tags(desk, folder)
    desk.journey.server.stop()
    assert "the 4D server did not answer" in desk.tick().skip_message
    (request,) = desk.tick("drop_changes").run_requests
    assert set(request.asset_selection) == {dg.AssetKey(["legacy", "tags"]), dg.AssetKey(["erp", "core_tag"])}
    desk.journey.server.start()
    folder.rename(tmp_path / "gone")
    desk.cursors.pop("drop_changes")
    result = desk.tick("drop_changes")
    assert (result.run_requests, "  next:  " in result.skip_message) == ([], True)
    assert len(desk.tick("legacy_changes").run_requests) in (0, 1)


def write_tags(desk: Desk, folder: Path) -> None:
    """A second source: files in a folder."""
    table = {"files": "*.csv", "format": "csv", "key": ["Name"]}
    source = {"type": "files", "folder": str(folder), "settle_seconds": 0, "tables": {"tags": table}}
    desk.journey.said["sources/drop"] = source
    desk.journey.said["core_tag"] = {
        "source": {"server": "drop", "table": "tags"},
        "target": {"table": "core_tag", "natural_key": ["name"], "on_insert": {"description": ""}},
        "change_detection": {"strategy": "fingerprint", "full_every": "1h"},
        "fields": {"name": {"from": "Name", "required": True}},
    }
    (desk.journey.folder / "mappings" / "sources").mkdir(parents=True, exist_ok=True)
    desk.journey.close()


# --- only after others ---------------------------------------------------------------------------


def after_parents(desk: Desk, **parents: Any) -> None:
    """Variants every hour, families as said; variants only after families."""
    desk.journey.remap(PARENTS, schedule=parents or None)
    desk.journey.remap(VARIANTS, schedule={"every": "1h", "only_after": [PARENTS]})


def test_schedule_waits_for_an_entity_that_was_never_loaded(desk: Desk):
    after_parents(desk)
    text = tick_of_schedule(desk).skip_message
    assert text.startswith(f"{VARIANTS} waits for {PARENTS}: it was never loaded")
    assert f"  next:  see `legacy-sync status {PARENTS}`" in text


def test_schedule_runs_after_an_entity_that_was_loaded_since_its_last_tick(desk: Desk):
    after_parents(desk)
    desk.journey.run()
    (request,) = tick_of_schedule(desk, at=datetime.now(UTC) + timedelta(seconds=1)).run_requests
    assert set(request.asset_selection) == set(VARIANT_PAIR)
    late = datetime.now(UTC) + timedelta(hours=3)
    assert "but the last tick before this one was" in tick_of_schedule(desk, at=late).skip_message


def test_schedule_measures_an_entity_by_its_own_schedule_if_it_has_one(desk: Desk):
    after_parents(desk, cron="0 2 * * *")
    desk.journey.run()
    now = datetime.now(BERLIN)
    tonight = datetime(now.year, now.month, now.day, 2, tzinfo=BERLIN) + timedelta(days=1)
    schedule = next(
        s.name for s in desk.definitions.get_repository_def().schedule_defs if s.cron_schedule != "0 2 * * *"
    )
    (request,) = tick_of_schedule(desk, schedule, at=tonight - timedelta(minutes=1)).run_requests
    assert set(request.asset_selection) == set(VARIANT_PAIR)
    reason = tick_of_schedule(desk, schedule, at=tonight + timedelta(minutes=1)).skip_message
    assert f"but its last tick was {tonight:%Y-%m-%d} 02:00" in reason


def test_schedule_waits_for_an_entity_whose_last_run_failed(desk: Desk):
    after_parents(desk)
    desk.journey.run()
    desk.journey.execute("update legacy_sync.run set outcome = 'failed'")
    assert "its last run failed" in tick_of_schedule(desk, at=datetime.now(UTC)).skip_message


def test_schedule_leaves_out_only_what_waits(desk: Desk):
    desk.journey.remap(PARENTS, schedule={"every": "1h"})
    desk.journey.remap(VARIANTS, schedule={"every": "1h", "only_after": [PARENTS]})
    (request,) = tick_of_schedule(desk).run_requests
    assert set(request.asset_selection) == set(FAMILY_PAIR)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["products_parent"], 'did you mean "products_parentproduct"?'),
        ([VARIANTS], f"{VARIANTS} waits for itself"),
    ],
)
def test_schedule_that_waits_for_nobody_it_knows_is_refused(desk: Desk, names: list[str], text: str):
    desk.journey.remap(VARIANTS, schedule={"every": "1h", "only_after": names})
    with pytest.raises(MappingInvalid) as caught:
        _ = desk.definitions
    assert text in str(caught.value)


def test_schedules_that_wait_for_each_other_are_refused(desk: Desk):
    desk.journey.remap(PARENTS, schedule={"every": "1h", "only_after": [VARIANTS]})
    desk.journey.remap(VARIANTS, schedule={"every": "1h", "only_after": [PARENTS]})
    with pytest.raises(MappingInvalid, match="the schedules of these entities wait for each other"):
        _ = desk.definitions
