"""How does an editor know the mapping language? JSON Schemas of mapping, source and environment files.

They accept what the loader accepts, shorthands and `${VARIABLE}` texts included; contradictions between
words are left to the loader. `python -m legacy_sync.mapping.schema FOLDER` writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from legacy_sync.mapping.model import Mapping, Overlay
from legacy_sync.mapping.notify_words import Notifications
from legacy_sync.mapping.source_words import BUILT_IN

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VALUE = ("from", "first_of", "join", "compute", "value")
_ONE_OF: dict[str, tuple[str, ...]] = {
    "Part": _VALUE,
    "Found": (*_VALUE, "from_column"),
    "ComposePart": ("text", "column"),
    "Schedule": ("cron", "every"),
}
_CASTS_WITH_WORDS = ("json_pick", "map", "replace", "split_last")
"""casts that say nothing by their name alone"""
_VARIABLE = {"type": "string", "pattern": r"\$\{"}

Schema = dict[str, Any]


def mapping_schema() -> Schema:
    """The JSON Schema of `mappings/<entity>.yaml`."""
    schema = _prepared(Mapping.model_json_schema(by_alias=True))
    schema["required"].remove("entity")
    definitions = schema["$defs"]
    for name, words in _ONE_OF.items():
        definitions[name]["oneOf"] = _required(words)
    origins = (*_VALUE, "reference")
    late = {"anyOf": _required(("compose", "erp_rule")), "not": {"anyOf": _required(origins)}}
    definitions["FieldMapping"]["oneOf"] = [*_required(origins), late]
    found = {"oneOf": _required((*_VALUE, "from_column"))}
    several = {"required": ["columns"], "not": {"anyOf": found["oneOf"]}}
    definitions["Match"]["oneOf"] = [*({**place, **found} for place in _required(("column", "key"))), several]
    return _finished(schema, "Mapping of one ERP table (legacy_sync)")


def source_schema() -> Schema:
    """The JSON Schema of `mappings/sources/<name>.yaml`; kinds of other packages may say anything."""
    kinds = list(BUILT_IN.values())
    schema = _prepared(models_json_schema([(kind, "validation") for kind in kinds], by_alias=True)[1])
    for kind in kinds:
        definition = schema["$defs"][kind.__name__]
        definition["properties"]["$schema"] = {"type": "string"}
    other = {"type": {"type": "string", "not": {"enum": list(BUILT_IN)}}, "description": {"type": "string"}}
    references = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds]
    schema["oneOf"] = [*references, {"type": "object", "required": ["type"], "properties": other}]
    return _finished(schema, "Source of legacy rows (legacy_sync)")


def environment_schema() -> Schema:
    """The JSON Schema of `mappings/environments/<name>.yaml`; what it says of mappings may be partial."""
    schema = _prepared(Overlay.model_json_schema(by_alias=True))
    told = _prepared(Notifications.model_json_schema(by_alias=True))
    schema["$defs"] |= told.pop("$defs")
    schema["$defs"]["Notifications"] = told
    part = _prepared(Mapping.model_json_schema(by_alias=True))
    definitions = part.pop("$defs")
    for definition in (part, *definitions.values()):
        _make_partial(definition)
    schema["$defs"] |= {**definitions, "PartOfMapping": part, "Variable": _VARIABLE}
    schema["properties"]["notifications"] = {"$ref": "#/$defs/Notifications"}
    schema["properties"]["defaults"] |= {"$ref": "#/$defs/PartOfMapping"}
    schema["properties"]["defaults"].pop("additionalProperties")
    schema["properties"]["entities"]["additionalProperties"] = {"$ref": "#/$defs/PartOfMapping"}
    return _finished(schema, "Environment of legacy_sync")


def write_schemas(folder: Path) -> list[Path]:
    """Write one file per kind of configuration file into the folder; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    schemas = {
        "mapping.json": mapping_schema(),
        "source.json": source_schema(),
        "environment.json": environment_schema(),
    }
    files = []
    for name, schema in schemas.items():
        file = folder / name
        file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        files.append(file)
    return files


def _prepared(schema: Schema) -> Schema:
    """Shorthands, variables and fewer words, in the schema and in all its definitions."""
    definitions = schema.setdefault("$defs", {})
    for definition in (schema, *definitions.values()):
        properties = definition.get("properties", {})
        for name, node in properties.items():
            properties[name] = _property(name, node)
        if "const" in properties.get("type", {}):
            definition["required"] = list(dict.fromkeys(["type", *definition.get("required", [])]))
    definitions["Variable"] = _VARIABLE
    return schema


def _property(name: str, node: Schema) -> Schema:
    if name in ("cast", "key_cast"):
        node = _cast(node)
    if name == "lookback":
        node["default"] = "1d"
    is_duration = name in ("every", "lookback")
    if node.get("type") in ("integer", "number", "boolean") or "enum" in node or is_duration:
        return _or_variable(node)
    return node


def _cast(node: Schema) -> Schema:
    """`cast: date`, `cast: {type: date}` or a list of both."""
    casts: Schema = {"oneOf": node["items"]["oneOf"]}
    names = list(node["items"]["discriminator"]["mapping"])
    plain = [name for name in names if name not in _CASTS_WITH_WORDS]
    step: Schema = {"anyOf": [{"enum": plain}, casts]}
    description = node.get("description", "conversion, or a chain of them")
    return {"description": description, "anyOf": [*step["anyOf"], {"type": "array", "items": step}]}


def _required(words: Sequence[str]) -> list[Schema]:
    return [{"required": [word]} for word in words]


def _or_variable(node: Schema) -> Schema:
    outer: Schema = {key: node.pop(key) for key in ("description", "default", "title") if key in node}
    return {**outer, "anyOf": [node, {"$ref": "#/$defs/Variable"}]}


def _make_partial(definition: Schema) -> None:
    """Nothing is required, and null takes a word away."""
    chosen_by_type = "type" in definition.pop("required", [])
    if chosen_by_type:
        definition["required"] = ["type"]
    for name, node in definition.get("properties", {}).items():
        if name == "type":
            continue
        outer: Schema = {key: node.pop(key) for key in ("description", "default") if key in node}
        definition["properties"][name] = {**outer, "anyOf": [node, {"type": "null"}]}


def _finished(schema: Schema, title: str) -> Schema:
    schema = deepcopy(schema)
    _strip(schema)
    if "properties" in schema:
        schema["properties"]["$schema"] = {"type": "string"}
    return {"$schema": _DIALECT, "title": title, **schema}


def _strip(node: object) -> None:
    """Remove pydantic's titles, which only repeat the names, and OpenAPI's discriminators."""
    if isinstance(node, list):
        for item in node:
            _strip(item)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("title"), str):
        del node["title"]
    if isinstance(node.get("discriminator"), dict) and "propertyName" in node["discriminator"]:
        del node["discriminator"]
    for item in node.values():
        _strip(item)


if __name__ == "__main__":
    for written in write_schemas(Path(sys.argv[1])):
        print(written)
