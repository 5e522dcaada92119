"""The JSON Schemas editors use: up to date, and of one mind with the loader."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from legacy_sync.mapping.document import read_document
from legacy_sync.mapping.schema import environment_schema, mapping_schema, source_schema, write_schemas
from legacy_sync.settings import PROJECT_ROOT

MAPPINGS = PROJECT_ROOT / "mappings"
GOOD = {"source": {"table": "T"}, "target": {"table": "A"}, "fields": {"sku": {"from": "Nummer"}}}


def errors(schema, data):
    return [f"{e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(data)]


def with_field(**words):
    return {**GOOD, "fields": {"x": {"from": "X", **words}}}


def test_committed_schemas_are_up_to_date(tmp_path):
    for file in write_schemas(tmp_path):
        committed = (MAPPINGS / ".schema" / file.name).read_text(encoding="utf-8")
        assert committed == file.read_text(encoding="utf-8"), (
            "run: python -m legacy_sync.mapping.schema mappings/.schema"
        )


def test_schemas_are_valid_schemas():
    Draft202012Validator.check_schema(mapping_schema())
    Draft202012Validator.check_schema(environment_schema())
    Draft202012Validator.check_schema(source_schema())


@pytest.mark.parametrize("file", sorted(MAPPINGS.glob("*.yaml")), ids=lambda f: f.name)
def test_schema_accepts_our_mappings(file):
    assert errors(mapping_schema(), read_document(file, file.name, {}).data) == []
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=.schema/mapping.json\n")


@pytest.mark.parametrize("file", sorted(MAPPINGS.glob("environments/*.yaml")), ids=lambda f: f.name)
def test_schema_accepts_our_environments(file):
    assert errors(environment_schema(), read_document(file, file.name, {}).data) == []
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=../.schema/environment.json\n")


@pytest.mark.parametrize("file", sorted(MAPPINGS.glob("sources/*.yaml")), ids=lambda f: f.name)
def test_schema_accepts_our_sources(file):
    assert errors(source_schema(), read_document(file, file.name, {}).data) == []
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=../.schema/source.json\n")


REST = {"type": "rest", "url": "https://x", "tables": {"t": {"path": "rows"}}}


def test_schema_of_sources_accepts_what_the_loader_accepts():
    auth = [{"type": "basic", "user": "${U}", "password": "${P}"}, {"type": "body", "name": "key", "value": "${K}"}]
    table = {"path": "rows", "columns": ["a"], "keep": "base", "key": "a", "page_size": "${SIZE:-5}"}
    for said in (
        REST,
        {**REST, "auth": auth[0], "pause_seconds": "${PAUSE}"},
        {**REST, "auth": auth, "tables": {"t": table}},
        {"type": "database", "url": "${URL:-}", "schema": "public", "tables": {"v": {"key": ["id"]}}},
        {"type": "files", "folder": "/x", "tables": {"t": {"files": "*.csv", "delimiter": "tab"}}},
        {"type": "four_d", "url": "http://other"},
        {"type": "of_another_package", "anything": {"goes": True}},
    ):
        assert errors(source_schema(), said) == []


def test_schema_of_sources_refuses_what_the_loader_refuses():
    for said in (
        {},
        {"type": "rest", "url": "https://x"},
        {**REST, "tables": {"t": {"path": "rows", "method": "DELETE"}}},
        {**REST, "auth": {"type": "digest"}},
        {**REST, "auth": {"type": "basic", "user": "u"}},
        {**REST, "timeout": 3},
        {"type": "files", "folder": "/x", "tables": {"t": {"files": "*", "encoding": "utf-7"}}},
        {"type": "database", "url": "x", "schemma": "y"},
    ):
        assert errors(source_schema(), said), said


ACCEPTED = {
    "joined, computed and composed values": {
        **GOOD,
        "fields": {
            "a": {"join": [{"from": "A"}, {"value": "B"}], "separator": " "},
            "b": {"compute": {"rule": "image_is_front", "inputs": {"articles": {"from": "C"}}}},
            "c": {"compose": [{"parts": [{"column": "a"}]}]},
            "d": {"from": "D", "compose": [{"parts": [{"text": "x"}, {"column": "a"}]}]},
        },
    },
    "rule on the ERP row": {
        **GOOD,
        "target": {"table": "A", "natural_key": ["sku"], "rows": "existing"},
        "fields": {"sku": {"from": "Nummer"}, "e": {"erp_rule": "receipt_payment_status"}},
    },
    "references by several columns and keys": {
        **GOOD,
        "source": {"table": "T", "other_keys": "refOld"},
        "fields": {
            "sku": {"from": "Nummer"},
            "x": {
                "reference": {
                    "to": "A",
                    "match": [
                        {"columns": {"p": {"from": "P"}, "q": {"from_column": "sku"}}},
                        {"key": "refOld", "from": "R"},
                        {"column": "k", "join": [{"from": "A"}]},
                    ],
                }
            },
        },
    },
    "short cast": with_field(cast="date"),
    "chain of casts": with_field(cast=["text", {"type": "split_last", "part": "after"}]),
    "truth value for otherwise": with_field(cast={"type": "boolean", "otherwise": False, "true": ["ja", 1]}),
    "variables": {**GOOD, "max_parked_share": "${SHARE:-0.1}", "schedule": {"every": "${EVERY}"}},
    "variable for a choice": {**GOOD, "conflicts": {"policy": "${POLICY}"}},
    "no schedule": {**GOOD, "schedule": None},
    "schema named in a JSON file": {"$schema": ".schema/mapping.json", **GOOD},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_schema_accepts_what_the_loader_accepts(project_of, case):
    variables = {"EVERY": "5m", "POLICY": "manual"}
    assert errors(mapping_schema(), ACCEPTED[case]) == []
    assert project_of({"a.json": json.dumps(ACCEPTED[case])}, **variables).get("a")


REFUSED = {
    "value of a match beside its columns": {
        **GOOD,
        "fields": {
            "x": {"reference": {"to": "B", "match": [{"columns": {"p": {"from": "P"}}, "from": "Q"}]}},
        },
    },
    "unknown word": {**GOOD, "grup": "x"},
    "unknown cast": with_field(cast="datte"),
    "unknown word in a cast": with_field(cast={"type": "date", "piwot": 50}),
    "two origins": with_field(value=1),
    "no origin": {**GOOD, "fields": {"x": {"required": True}}},
    "missing table": {**GOOD, "source": {}},
    "no such policy": {**GOOD, "conflicts": {"policy": "manuel"}},
    "duration without unit": {**GOOD, "schedule": {"every": "5"}},
    "share above one": {**GOOD, "deletes": {"max_share": 2}},
    "no fields": {**GOOD, "fields": {}},
    "typed word without type": {**GOOD, "partitions": {"size": "month"}},
}


@pytest.mark.parametrize("case", REFUSED)
def test_schema_refuses_what_the_loader_refuses(problems_of, case):
    assert errors(mapping_schema(), REFUSED[case])
    assert problems_of({"a.json": json.dumps(REFUSED[case])})


def test_environment_schema_takes_parts_of_mappings_and_null():
    data = {
        "defaults": {"source": {"page_size": 50}},
        "entities": {"a": {"schedule": None, "fields": {"x": {"default": 1}}}},
    }
    assert errors(environment_schema(), data) == []
    assert errors(environment_schema(), {"entities": {"a": {"shedule": None}}})
    assert errors(environment_schema(), {"landing_kep": 3})


def test_schema_file_ends_with_a_line_break(tmp_path: Path):
    assert all(file.read_text(encoding="utf-8").endswith("}\n") for file in write_schemas(tmp_path))
