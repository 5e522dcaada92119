"""Does a broken edit change nothing, and does a run keep the mappings it was planned with?"""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType
from dagster._core.definitions.repository_definition import RepositoryLoadData

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.loader import load_project
from legacy_sync.orchestration.kept import Kept, Version, choose_version
from legacy_sync.orchestration.location import PLANNED, build_location
from legacy_sync.orchestration.mappings_watch import Watch, build_mappings_watch
from legacy_sync.settings import PROJECT_ROOT, Settings, read_settings

FILE = "products_parentproduct.yaml"
WEEK = 7 * 24 * 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mappings folder with one mapping."""
    made = tmp_path / "project" / "mappings"
    made.mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / "mappings" / FILE, made)
    return made


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    return read_settings({"LEGACY_SYNC_MAPPINGS": str(folder), "DAGSTER_HOME": str(tmp_path)})


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / FILE
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def break_it(folder: Path) -> None:
    edit(folder, "group:", "grup:")


def group_of(version: Version) -> str:
    (mapping,) = load_project(version.settings).mappings.values()
    return mapping.group


def later() -> float:
    """A moment at which nobody has just saved a file."""
    return time.time() + 60


# --- versions


def test_files_are_copied_before_they_are_used(settings: Settings, folder: Path, tmp_path: Path):
    version = choose_version(settings)
    shutil.rmtree(folder)
    assert version.settings.mappings.is_relative_to(tmp_path / "mappings_kept")
    assert group_of(version) == "products"


def test_process_that_starts_while_files_are_broken_takes_the_last_good_ones_and_says_so(
    settings: Settings, folder: Path, caplog: pytest.LogCaptureFixture
):
    good = choose_version(settings)
    break_it(folder)
    assert choose_version(settings) == good
    assert f'unknown word "grup"\n  where: mappings/{FILE}:' in caplog.text
    assert "nothing has changed: the mappings of" in caplog.text


def test_files_that_were_never_good_are_an_error(settings: Settings, folder: Path):
    break_it(folder)
    for _ in range(2):
        with pytest.raises(MappingInvalid, match='unknown word "grup"'):
            choose_version(settings)


def test_what_only_dagster_refuses_is_broken_too(settings: Settings, folder: Path):
    good = choose_version(settings)
    edit(folder, "group: products", "group: my products")
    assert choose_version(settings) == good


def test_link_to_nowhere_is_broken(settings: Settings, folder: Path):
    good = choose_version(settings)
    (folder / FILE).unlink()
    (folder / FILE).symlink_to(folder / FILE)
    assert choose_version(settings) == good


def test_run_keeps_the_version_it_was_planned_with(settings: Settings, folder: Path):
    planned = choose_version(settings)
    edit(folder, "group: products", "group: others")
    newest = choose_version(settings)
    assert [group_of(v) for v in (newest, choose_version(settings, planned.name))] == ["others", "products"]
    assert choose_version(settings, "gone").name == newest.name


def test_kept_version_that_was_altered_is_not_used(settings: Settings):
    good = choose_version(settings)
    (good.settings.mappings / FILE).write_text("source: {}\n")
    assert Kept(settings).find(good.name) is None
    assert group_of(choose_version(settings)) == "products"


def test_projects_and_environments_on_one_machine_keep_their_own(settings: Settings, folder: Path, tmp_path: Path):
    choose_version(settings)
    other = tmp_path / "other" / "mappings"
    shutil.copytree(folder, other)
    break_it(other)
    for variables in ({"LEGACY_SYNC_MAPPINGS": str(other)}, {"LEGACY_SYNC_ENV": "test"}):
        elsewhere = read_settings({**settings.values, **variables})
        assert Kept(elsewhere).newest() is None


def test_without_dagster_home_the_folder_itself_is_used(folder: Path):
    settings = read_settings({"LEGACY_SYNC_MAPPINGS": str(folder)})
    assert choose_version(settings).settings.mappings == folder
    break_it(folder)
    with pytest.raises(MappingInvalid):
        choose_version(settings)


def test_home_without_room_stops_nothing(settings: Settings, folder: Path, tmp_path: Path, caplog):
    (tmp_path / "mappings_kept").write_text("in the way")
    assert choose_version(settings).settings.mappings == folder
    assert "the mapping files are not kept" in caplog.text


def test_versions_that_nobody_used_for_a_week_go(settings: Settings, folder: Path):
    first = choose_version(settings)
    edit(folder, "group: products", "group: others")
    second = choose_version(settings)
    long_ago = time.time() - WEEK - 60
    for version in (first, second):
        os.utime(version.settings.mappings.parent, (long_ago, long_ago))
    edit(folder, "group: others", "group: third")
    third = choose_version(settings)
    assert [Kept(settings).find(v.name) is not None for v in (first, second, third)] == [False, False, True]


# --- what Dagster loads


def test_version_goes_from_the_plan_to_the_process_of_the_run(settings: Settings, folder: Path):
    first = DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)
    with DefinitionsLoadContext.scoped(first):
        build_location(settings)
    plan = RepositoryLoadData(reconstruction_metadata=first.get_pending_reconstruction_metadata())
    edit(folder, "group: products", "group: others")
    with DefinitionsLoadContext.scoped(DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, plan)) as second:
        groups = {spec.group_name for spec in build_location(settings).resolve_all_asset_specs()}
    assert groups == {"products"}
    assert second.get_pending_reconstruction_metadata()[PLANNED] == first.get_pending_reconstruction_metadata()[PLANNED]


def test_process_stays_with_the_version_it_began_with(settings: Settings, folder: Path):
    build_location(settings)
    edit(folder, "group: products", "group: others")
    assert {spec.group_name for spec in build_location(settings).resolve_all_asset_specs()} == {"products"}


# --- the sensor


def test_watch_has_nothing_to_say_while_nothing_is_edited(settings: Settings, folder: Path):
    watch = Watch(settings, choose_version(settings))
    (folder / FILE).touch()
    look = watch.look(later())
    assert (look.text, look.newer) == ("the mappings in force are those of the files", None)
    assert watch.look(later()) is look


def test_watch_waits_for_files_that_are_being_saved(settings: Settings, folder: Path):
    watch = Watch(settings, choose_version(settings))
    edit(folder, "group: products", "group: others")
    assert watch.look(time.time()).text == "a file was saved this moment: the next look decides"
    assert watch.look(later()).newer is not None


def test_watch_tells_a_broken_edit_with_its_line_and_what_stays(settings: Settings, folder: Path):
    in_force = choose_version(settings)
    watch = Watch(settings, in_force)
    break_it(folder)
    look = watch.look(later())
    line = next(n for n, text in enumerate((folder / FILE).read_text().splitlines(), 1) if "grup" in text)
    assert look.newer is None
    assert f'unknown word "grup"\n  where: mappings/{FILE}:{line}, grup\n  next:  did you mean "group"?' in look.text
    assert f"the mappings of {in_force.since:%Y-%m-%d %H:%M} UTC stay in force" in look.text
    assert Kept(settings).is_newest(in_force)


def test_watch_finds_a_mended_edit_and_one_that_was_taken_back(settings: Settings, folder: Path):
    watch = Watch(settings, choose_version(settings))
    break_it(folder)
    watch.look(later())
    edit(folder, "grup: products", "group: others")
    newer = watch.look(later()).newer
    assert newer is not None
    assert (group_of(newer), Kept(settings).is_newest(newer)) == ("others", True)
    edit(folder, "group: others", "group: products")
    assert watch.look(later()).newer is None


def test_watch_sees_files_that_come_and_go(settings: Settings, folder: Path):
    watch = Watch(settings, choose_version(settings))
    (folder / "environments").mkdir()
    overlay = folder / "environments" / "dev.yaml"
    overlay.write_text("landing_keep: 9\n")
    assert watch.look(later()).newer is not None
    overlay.unlink()
    assert watch.look(later()).newer is None


def test_watch_asks_again_only_after_a_while(settings: Settings):
    watch = Watch(settings, choose_version(settings))
    assert [watch.may_ask(now) for now in (1000.0, 1005.0, 1059.0, 1060.0)] == [1, 0, 0, 2]


def test_sensor_without_a_shared_code_server_says_what_to_do(settings: Settings, folder: Path):
    sensor = build_mappings_watch(settings, Version("other", settings, datetime.now(UTC)))
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    os.utime(folder / FILE, (1, 1))
    with dg.instance_for_test() as instance, dg.build_sensor_context(instance=instance) as context:
        said = str(sensor.evaluate_tick(context).skip_message)
    assert "the edited mappings can be loaded" in said
    assert "in the UI press Reload" in said
