"""How does an editor know the mapping language? JSON Schemas of mapping and environment files.

They accept what the loader accepts, shorthands and `${VARIABLE}` texts included; contradictions between
words are left to the loader. `python -m legacy_sync.mapping.schema FOLDER` writes them.
"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from legacy_sync.mapping.model import Mapping, Overlay

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ONE_OF: dict[str, tuple[str, ...]] = {
    "FieldMapping": ("from", "first_of", "value", "reference"),
    "Match": ("from", "from_column"),
    "Schedule": ("cron", "every"),
}
_VARIABLE = {"type": "string", "pattern": r"\$\{"}

Schema = dict[str, Any]


def mapping_schema() -> Schema:
    """The JSON Schema of `mappings/<entity>.yaml`."""
    schema = _prepared(Mapping.model_json_schema(by_alias=True))
    schema["required"].remove("entity")
    for name, words in _ONE_OF.items():
        schema["$defs"][name]["oneOf"] = [{"required": [word]} for word in words]
    return _finished(schema, "Mapping of one ERP table (legacy_sync)")


def environment_schema() -> Schema:
    """The JSON Schema of `mappings/environments/<name>.yaml`; what it says of mappings may be partial."""
    schema = _prepared(Overlay.model_json_schema(by_alias=True))
    part = _prepared(Mapping.model_json_schema(by_alias=True))
    definitions = part.pop("$defs")
    for definition in (part, *definitions.values()):
        _make_partial(definition)
    schema["$defs"] = {**definitions, "PartOfMapping": part, "Variable": _VARIABLE}
    schema["properties"]["defaults"] |= {"$ref": "#/$defs/PartOfMapping"}
    schema["properties"]["defaults"].pop("additionalProperties")
    schema["properties"]["entities"]["additionalProperties"] = {"$ref": "#/$defs/PartOfMapping"}
    return _finished(schema, "Environment of legacy_sync")


def write_schemas(folder: Path) -> list[Path]:
    """Write `mapping.json` and `environment.json` into the folder; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, schema in (("mapping.json", mapping_schema()), ("environment.json", environment_schema())):
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
    if name == "cast":
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
    plain = [name for name in names if name not in ("json_pick", "split_last")]
    step: Schema = {"anyOf": [{"enum": plain}, casts]}
    description = node.get("description", "conversion, or a chain of them")
    return {"description": description, "anyOf": [*step["anyOf"], {"type": "array", "items": step}]}


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
