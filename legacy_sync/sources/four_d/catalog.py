"""Which tables and attributes does the 4D catalog show?

Accepts what servers really send (`{"dataClasses":[…]}`), the unwrapped single form of the
documentation, and a bare list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from legacy_sync.errors import SourceUntrustworthy
from legacy_sync.sources.base import Attribute, TableInfo

SCALAR_TYPES = frozenset(
    {"bool", "byte", "date", "duration", "float", "long", "long64", "number", "object", "string", "uuid", "word"}
)
NUMERIC_TYPES = frozenset({"byte", "float", "long", "long64", "number", "word"})


def read_catalog(parsed: object, where: str) -> dict[str, TableInfo]:
    """All tables of a catalog answer by name; raises SourceUntrustworthy if it is none."""
    if isinstance(parsed, Mapping) and isinstance(parsed.get("dataClasses"), list):
        found: object = parsed["dataClasses"]
    elif isinstance(parsed, Mapping) and "name" in parsed:
        found = [parsed]
    else:
        found = parsed
    if not _is_named(found) or not all(_is_table(item) for item in found):
        raise SourceUntrustworthy(
            "the answer is no 4D catalog: neither a list of tables nor a table",
            where=where,
            next_step="check that LEGACY_API_URL points to the REST server of 4D",
        )
    return {item["name"]: _table(item) for item in found}


def _is_named(items: object) -> TypeGuard[list[Mapping[str, Any]]]:
    """Whether it is a list of things that all have a name."""
    return isinstance(items, list) and all(isinstance(i, Mapping) and isinstance(i.get("name"), str) for i in items)


def _is_table(item: Mapping[str, Any]) -> bool:
    key = item.get("key") or []
    return _is_named(item.get("attributes") or []) and isinstance(key, list)


def paging_key(info: TableInfo) -> Attribute | None:
    """The attribute to page by: the table's only primary-key attribute, if it is stored; else None."""
    if len(info.key) != 1:
        return None
    for attribute in info.attributes:
        if attribute.name == info.key[0]:
            return attribute if attribute.stored else None
    return None


def is_stub(attribute: Attribute) -> bool:
    """Whether rows carry only a link for it: relations, and pictures or blobs that are computed."""
    return not attribute.stored and attribute.type not in SCALAR_TYPES


def _table(item: Mapping[str, Any]) -> TableInfo:
    attributes = tuple(_attribute(entry) for entry in item.get("attributes") or ())
    key = tuple(_key_name(entry) for entry in item.get("key") or ())
    if not key:
        key = tuple(str(e["name"]) for e in item.get("attributes") or () if e.get("identifying") is True)
    return TableInfo(item["name"], attributes, key)


def _attribute(entry: Mapping[str, Any]) -> Attribute:
    stored = entry.get("kind", "storage") == "storage"
    return Attribute(entry["name"], str(entry.get("type", "")), stored)


def _key_name(entry: object) -> str:
    return str(entry.get("name")) if isinstance(entry, Mapping) else str(entry)
