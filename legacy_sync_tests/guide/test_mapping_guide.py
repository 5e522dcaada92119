"""Does docs/mappings.md tell the truth? What is not played loads, its tables are those of the models, names exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from legacy_sync.mapping.loader import Project, load_project
from legacy_sync.mapping.reference import replace_generated
from legacy_sync.settings import PROJECT_ROOT, read_settings

TEXT = (PROJECT_ROOT / "docs" / "mappings.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```yaml *(\w*)\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
COMPLETE, FRAGMENTS, ENVIRONMENTS = (
    [text for kind, text in FENCES if kind == wanted] for wanted in ("", "fragment", "environment")
)
MINIMAL: dict[str, Any] = {"source": {"table": "T"}, "target": {"table": "example"}, "fields": {"x": {"from": "X"}}}


def load(folder: Path, text: str, environment: str = "landing_keep: 3") -> Project:
    """The project of one mapping, and what its environment says."""
    (folder / "environments").mkdir()
    (folder / "environments" / "dev.yaml").write_text(environment, encoding="utf-8")
    (folder / "example.yaml").write_text(text, encoding="utf-8")
    return load_project(read_settings({"LEGACY_SYNC_MAPPINGS": str(folder)}))


def test_generated_part_is_up_to_date() -> None:
    assert replace_generated(TEXT) == TEXT, "run python -m legacy_sync.mapping.reference docs/mappings.md"


def test_every_word_has_a_meaning() -> None:
    assert re.findall(r"^\| `.+ \|  \|$", TEXT, flags=re.MULTILINE) == []


def test_every_example_is_of_a_known_kind() -> None:
    played = {"mapping", "records", "deleted", "erp", "rows"}  # by test_mapping_examples
    assert {kind for kind, _ in FENCES} == {"", "fragment", "environment", *played}


@pytest.mark.parametrize("text", COMPLETE)
def test_every_complete_mapping_loads(tmp_path: Path, text: str) -> None:
    assert {"source:", "target:"} <= set(text.splitlines())
    assert "example" in load(tmp_path, text).mappings


@pytest.mark.parametrize("text", FRAGMENTS)
def test_every_fragment_fits_into_a_mapping(tmp_path: Path, text: str) -> None:
    said = MINIMAL | YAML(typ="safe").load(text)
    assert "example" in load(tmp_path, json.dumps(said, default=str)).mappings


@pytest.mark.parametrize("text", ENVIRONMENTS)
def test_every_environment_is_understood(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, json.dumps(MINIMAL), text).mappings == {}


def test_links_of_the_reference_lead_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", TEXT, flags=re.MULTILINE)
    anchors = [title.lower().replace(" ", "-") for title in titles]
    assert set(re.findall(r"\]\(#(.+?)\)", TEXT)) <= set(anchors)
    assert len(anchors) == len(set(anchors))


def test_paths_in_the_text_exist() -> None:
    paths = re.findall(r"`((?:mappings|legacy_sync|docs)/[\w./]+)`", TEXT)
    assert [path for path in paths if not (PROJECT_ROOT / path).exists()] == []
