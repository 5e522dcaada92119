"""Are the mappings read anew exactly when something has changed?"""

import shutil
from pathlib import Path

import pytest

from legacy_sync.errors import MappingInvalid
from legacy_sync.orchestration.projects import read_project
from legacy_sync.settings import PROJECT_ROOT, Settings, read_settings

FILE = "products_parentproduct.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mappings folder with one mapping."""
    made = tmp_path / "mappings"
    made.mkdir()
    shutil.copy(PROJECT_ROOT / "mappings" / FILE, made)
    return made


def settings(folder: Path, **more: str) -> Settings:
    return read_settings({"LEGACY_SYNC_MAPPINGS": str(folder), **more})


def test_unchanged_files_are_read_once(folder: Path):
    assert read_project(settings(folder)) is read_project(settings(folder))


def test_changed_file_is_read_at_once(folder: Path):
    before = read_project(settings(folder))
    file = folder / FILE
    file.write_text(file.read_text().replace("group: products", "group: others"))
    after = read_project(settings(folder))
    assert [m.group for m in (*before.mappings.values(), *after.mappings.values())] == ["products", "others"]


def test_changed_variable_counts_too(folder: Path):
    before = read_project(settings(folder))
    assert read_project(settings(folder, ANYTHING="else")) is not before


def test_broken_file_is_told_every_time(folder: Path):
    (folder / "broken.yaml").write_text("source: [")
    for _ in range(2):
        with pytest.raises(MappingInvalid):
            read_project(settings(folder))
