"""Can the Dagster commands of the README be typed as they stand? Names, partitions and selections, without a server."""

import re
import shlex

import dagster as dg
import pytest

from legacy_sync.orchestration.build import build_definitions
from legacy_sync.settings import PROJECT_ROOT, read_settings

TEXT = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"^dagster (?:job|asset) .*$", TEXT, flags=re.MULTILINE)]


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(read_settings({"LEGACY_SYNC_ENV": "dev"}))


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_jobs_that_are_named_exist(definitions: dg.Definitions):
    named = [option(command, "-j") for command in COMMANDS if command[1] == "job"]
    assert named
    for name in named:
        assert definitions.resolve_job_def(name).name == name


def test_assets_that_are_selected_share_the_range_that_is_given(definitions: dg.Definitions):
    ranges = [command for command in COMMANDS if command[1] == "asset"]
    assert ranges
    graph = definitions.resolve_asset_graph()
    for command in ranges:
        chosen = dg.AssetSelection.from_string(option(command, "--select")).resolve(graph)
        cuts = {graph.get(key).partitions_def for key in chosen} - {None}
        assert len(cuts) == 1, f"{command} selects assets with {len(cuts)} kinds of partitions; Dagster takes one"
        keys = next(iter(cuts)).get_partition_keys()
        assert set(option(command, "--partition-range").split("...")) <= set(keys)
