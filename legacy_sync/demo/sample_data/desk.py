"""Who works in the old database during a day, and what is told about it afterwards?"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from legacy_sync.demo.four_d_server.store import Row, Store
from legacy_sync.demo.sample_data.every_row import without_audit
from legacy_sync.demo.sample_data.table_names import NAMES

Edit = Callable[[random.Random, Row], Row]
"""The changed values of a row; at least one of them differs from what was there."""

T = TypeVar("T")


def _no_keys() -> dict[str, list[str]]:
    return {name: [] for name in NAMES}


@dataclass
class Summary:
    """What a day's work changed: keys by table, the family that arrived, who waited for it, the repaired row."""

    edited: dict[str, list[str]] = field(default_factory=_no_keys)
    inserted: dict[str, list[str]] = field(default_factory=_no_keys)
    arrived: str | None = None
    waiting: list[str] = field(default_factory=list)
    fixed: str | None = None


@dataclass
class Desk:
    """A clerk at work in one department; everything done is noted."""

    store: Store
    dice: random.Random
    done: Summary

    def edit(self, table: str, how: Edit, one_in: int = 100) -> None:
        """Change one of so many rows, and at least one."""
        keys = sorted(self.store.tables[table].position)
        for key in sorted(self.dice.sample(keys, max(1, len(keys) // one_in))):
            self.store.update(table, key, how(self.dice, self.store.get(table, key)))
            self.done.edited[table].append(key)

    def add(self, table: str, row: Mapping[str, object]) -> str:
        """Save a new row and return its key."""
        key = self.store.insert(table, without_audit(row))
        self.done.inserted[table].append(key)
        return key

    def next_number(self, table: str, attribute: str) -> int:
        """One more than the highest number there is."""
        return 1 + max(as_number(row[attribute]) for row in self.store.rows(table))

    def pick(self, table: str) -> Row:
        """Any row of the table."""
        return self.store.get(table, self.dice.choice(sorted(self.store.tables[table].position)))


def as_number(value: object) -> int:
    """A number that may have come as text; 0 if it is none."""
    text = str(value).strip()
    return int(text) if text.isdigit() else 0


def another(dice: random.Random, options: Sequence[T], now: object) -> T:
    """One of the options, but not the present one."""
    return dice.choice([option for option in options if option != now])
