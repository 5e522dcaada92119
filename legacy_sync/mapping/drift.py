"""How does a legacy table differ from what it was when it was last seen, and does that stop a mapping?

A column that is gone stops by itself (`preflight`). One that a mapping reads and whose type is another now stops until
a person looked: the values may mean something else. Everything else is only told, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from datetime import datetime

from legacy_sync.errors import Problem
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.preflight import attributes_read, legacy_problem
from legacy_sync.mapping.suggest import name_all
from legacy_sync.sources.base import TableInfo

Types = Dict[str, str]
"""The source's word for the type, by attribute."""


@dataclass(frozen=True)
class SeenTable:
    """A table as it was described: the type by attribute, and when it was last seen like that (UTC)."""

    types: Types
    seen_at: datetime


def types_of(table: TableInfo, kind: str) -> dict[str, str]:
    """The type of each attribute, without lengths; blank for files, where it is guessed from what is in them."""
    if kind == "files":
        return dict.fromkeys(table.names, "")
    return {a.name: a.type.split("(")[0].strip() for a in table.attributes}


def find_retyped(mapping: Mapping, before: SeenTable, now: Types) -> Iterator[Problem]:
    """Attributes that the mapping reads and whose type is not what it was."""
    told = set()
    for path, spellings in attributes_read(mapping):
        for name in spellings:
            old, new = before.types.get(name), now.get(name)
            if name in told or old is None or new is None or old == new:
                continue
            told.add(name)
            what = (
                f'column "{name}" of legacy table "{mapping.source.table}" is of type {new} now,'
                f" it was {old} ({_seen(before.seen_at)})"
            )
            next_step = (
                f"look whether its values still mean the same and whether the cast of the field fits, then accept it"
                f" once: `legacy-sync run {mapping.entity} --accept-shrink`"
            )
            yield legacy_problem(mapping, path, what, next_step)


def find_last_seen(before: SeenTable, now: Types) -> dict[str, str]:
    """The attributes that the table has no more: when they were last seen, in words."""
    return dict.fromkeys(before.types.keys() - now.keys(), _seen(before.seen_at))


def tell_changes(mapping: Mapping, before: SeenTable, now: Types) -> str:
    """What is different, in one sentence; empty if nothing is."""
    old = before.types
    found = {
        "new": [name for name in now if name not in old],
        "gone": [name for name in old if name not in now],
        "of another type": [f"{n} ({old[n]}, now {now[n]})" for n in now if n in old and old[n] != now[n]],
    }
    parts = "; ".join(f"{what}: {name_all(names)}" for what, names in found.items() if names)
    return (
        f'legacy table "{mapping.source.table}" has changed since {before.seen_at:%Y-%m-%d}: {parts}' if parts else ""
    )


def _seen(at: datetime) -> str:
    return f"last seen {at:%Y-%m-%d %H:%M} UTC"
