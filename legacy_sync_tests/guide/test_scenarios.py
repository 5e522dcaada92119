"""Does every scenario the software must survive have a test named after what it demands, or say why not?

`scenarios.yaml` has for each number the demand and `tests` (`file::function`), or `not_ours` with the reason.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = TESTS.parent / "legacy_sync"
SCENARIOS: dict[int, dict[str, Any]] = YAML(typ="safe").load(Path(__file__).with_name("scenarios.yaml"))
WITH_TESTS = {number: scenario["tests"] for number, scenario in SCENARIOS.items() if "tests" in scenario}

NOT_MET: set[int] = set()
"""demands that are not met yet: a test of theirs is expected to fail, and complains when it no longer does"""


@cache
def functions(file: str) -> dict[str, ast.FunctionDef]:
    """The tests of a file by name."""
    tree = ast.parse((TESTS / file).read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def words(text: str) -> set[str]:
    return {word[:5] for word in re.findall(r"[a-z]{4,}", text.lower().replace("_", " "))}


def test_every_number_has_a_demand_and_tests_or_a_reason():
    assert list(SCENARIOS) == list(range(1, 64))
    for number, scenario in SCENARIOS.items():
        assert scenario.keys() in ({"demand", "tests"}, {"demand", "not_ours"}), number
        assert len(scenario["demand"].split()) > 3, number
        assert len(scenario.get("not_ours", "five words are a reason").split()) >= 5, number
        assert 1 <= len(scenario.get("tests", ["one"])) <= 3, number
    assert len(WITH_TESTS) > 55


@pytest.mark.parametrize("number", WITH_TESTS)
def test_every_test_of_a_scenario_is_there_and_collected(number: int):
    for place in WITH_TESTS[number]:
        file, _, name = place.partition("::")
        assert Path(file).name.startswith("test_"), place
        assert (TESTS / file).is_file(), place
        assert name.startswith("test_"), place
        assert name in functions(file), place


@pytest.mark.parametrize("number", WITH_TESTS)
def test_names_of_tests_say_the_demand(number: int):
    for place in WITH_TESTS[number]:
        name = place.partition("::")[2]
        assert len(name.split("_")) > 4, place
    said = set().union(*(words(place.partition("::")[2]) for place in WITH_TESTS[number]))
    assert len(said & words(SCENARIOS[number]["demand"])) >= 2, SCENARIOS[number]


def marked(word: str) -> set[int]:
    """Scenarios with a test that carries a mark."""
    return {
        number
        for number, places in WITH_TESTS.items()
        for file, _, name in (place.partition("::") for place in places)
        if any(word in ast.unparse(mark) for mark in functions(file)[name].decorator_list)
    }


def test_no_test_of_a_scenario_is_skipped_and_unmet_demands_are_known():
    assert marked("skip") == set()
    assert marked("xfail") == NOT_MET


def test_only_one_client_speaks_to_4d():
    speakers = {
        str(path.relative_to(PACKAGE).parent)
        for path in PACKAGE.rglob("*.py")
        if "demo" not in path.parts  # the other side of the line
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        if name.split(".")[0] in {"httpx", "requests", "urllib3", "aiohttp"}
        or name in {"urllib.request", "http.client"}
    }
    assert speakers == {"sources/four_d", "sources/rest", "sources", "notify"}
    # "sources" only cuts their requests off, "notify" asks a dead man's switch
    texts = [path.read_text() for path in (PACKAGE / "sources" / "four_d").glob("*.py")]
    assert sum(text.count("requests.Session(") for text in texts) == 1
