"""How do clean rows become those of a real old database? A share of them gets values nobody expects."""

from __future__ import annotations

import random
from collections.abc import Sequence

import orjson

from legacy_sync.demo.four_d_server.store import Row

_ROWS_FOR_ONE = 100  # a smaller table has no row that an import cannot load, or it would have too many of them


def share_of(count: int, share: float) -> int:
    """That share of a number, at least one."""
    return max(1, round(count * share))


def some(dice: random.Random, rows: Sequence[Row], share: float) -> list[Row]:
    """A share of the rows, at least one: for what an import can live with."""
    return dice.sample(rows, share_of(len(rows), share))


def few(dice: random.Random, rows: Sequence[Row], share: float) -> list[Row]:
    """A share of the rows, at least one of a hundred: for what an import cannot load."""
    return dice.sample(rows, max(round(len(rows) * share), len(rows) >= _ROWS_FOR_ONE))


def sprinkle(dice: random.Random, rows: Sequence[Row], attribute: str, share: float, *values: object) -> None:
    """Give some of the rows one of the values, each in turn."""
    for place, row in enumerate(some(dice, rows, share)):
        row[attribute] = values[place % len(values)]


def ruin(dice: random.Random, rows: Sequence[Row], attribute: str, share: float, *values: object) -> None:
    """Give a few of the rows one of the values, each in turn, for which an import must leave them out."""
    for place, row in enumerate(few(dice, rows, share)):
        row[attribute] = values[place % len(values)]


def numbers_as_text(dice: random.Random, rows: Sequence[Row], attribute: str, share: float) -> None:
    """A number arrives as text now and then."""
    for row in some(dice, rows, share):
        if row[attribute] is not None:
            row[attribute] = str(row[attribute])


def objects_as_text(dice: random.Random, rows: Sequence[Row], attribute: str, share: float) -> None:
    """An object arrives as the JSON text that an older program has stored."""
    for row in some(dice, rows, share):
        if isinstance(row[attribute], dict):
            row[attribute] = json_text(row[attribute])


def with_comma(dice: random.Random, rows: Sequence[Row], attribute: str, share: float) -> None:
    """An amount arrives as it was typed, with a comma."""
    for row in some(dice, rows, share):
        if isinstance(row[attribute], float):
            row[attribute] = f"{row[attribute]:.2f}".replace(".", ",")


def json_text(value: object) -> str:
    """The value as JSON."""
    return orjson.dumps(value).decode()
