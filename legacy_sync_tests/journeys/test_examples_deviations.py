"""Do the documented deviations and the facts agree?"""

import re
from pathlib import Path
from typing import Any

import pytest
from examples_setup import plain, read_facts

from legacy_sync.settings import PROJECT_ROOT

AREAS = [file.stem.removeprefix("examples_") for file in sorted(Path(__file__).parent.glob("examples_*.yaml"))]
SECTIONS = re.split(r"^## ", (PROJECT_ROOT / "docs" / "deviations.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
DOCUMENTED = {section.split()[0]: section for section in SECTIONS[1:]}


def test_deviations_are_the_ones_in_the_documentation():
    texts = [Path(__file__).with_name(f"examples_{area}.yaml").read_text(encoding="utf-8") for area in AREAS]
    assert {number for text in texts for number in re.findall(r"\bD-\d+", text)} == set(DOCUMENTED)


def numbers_in(value: Any) -> set[str]:
    if isinstance(value, dict | list):
        return {
            number for inner in (value.values() if isinstance(value, dict) else value) for number in numbers_in(inner)
        }
    return {value} if isinstance(value, str) and re.fullmatch(r"D-\d+", value) else set()


@pytest.mark.parametrize("area", AREAS)
def test_recorded_examples_stand_with_their_deviation(area: str):
    facts = read_facts(area)
    named = {example["id"]: example for example in facts.get("examples", [])}
    for group in facts.get("conversions", []):
        named |= group["values"]
    recorded = {(number, name) for name, fact in named.items() for number in numbers_in(fact) if name[:2] != "N-"}
    assert {(number, name) for number, name in recorded if name not in DOCUMENTED[number]} == set()


@pytest.mark.parametrize("area", AREAS)
def test_deviating_values_do_deviate(area: str):
    facts = read_facts(area)
    for example in facts.get("examples", []):
        for column, (ours, _) in example.get("instead", {}).items():
            assert plain(ours) != plain(example["expect"][column]), example["id"]
    for group in facts.get("conversions", []):
        for name, (_, recorded, *ours) in group["values"].items():
            assert not ours or plain(ours[0]) != plain(recorded), name


def test_ids_are_given_once():
    names: list[Any] = []
    for facts in map(read_facts, AREAS):
        names += [example["id"] for example in facts.get("examples", [])]
        names += [name for group in facts.get("conversions", []) for name in group["values"]]
    assert sorted(names) == sorted(set(names))
