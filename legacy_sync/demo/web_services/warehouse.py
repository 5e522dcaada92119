"""What would the database of an old warehouse program hold? Movements of stock, in a SQLite file."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, time, timedelta
from pathlib import Path

_TABLE = """
create table stock_movement (
    id integer primary key,
    article_number text not null,
    quantity integer not null,
    kind text not null,      -- Z receipt, U transfer, E pick, R return, K correction, V thrown away
    reference text,
    note text,
    moment datetime not null
)
"""
_KINDS = "EEEEEEEEZZZURKV"
_NOTES = ("", "", "", "", "Inventur", "Bruch", "Messe Nürnberg", "gezählt von Öttl")
_PER_VARIANT = 1.4


def write_warehouse(file: Path, seed: int, numbers: Sequence[str], today: date) -> None:
    """A new file with movements of the variants that have these numbers."""
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(_TABLE)
        connection.executemany(
            "insert into stock_movement values (?, ?, ?, ?, ?, ?, ?)",
            _movements(random.Random(f"{seed}/warehouse"), numbers, today),
        )
        connection.commit()


def _movements(dice: random.Random, numbers: Sequence[str], today: date) -> Iterator[tuple[object, ...]]:
    count = max(20, round(len(numbers) * _PER_VARIANT)) if numbers else 0
    days = sorted(dice.randrange(600) for _ in range(count))
    for number, back in enumerate(reversed(days), start=1):
        kind = dice.choice(_KINDS)
        moment = datetime.combine(today - timedelta(days=back), time(dice.randrange(7, 18), dice.randrange(60)))
        article = dice.choice(numbers) if number % 61 else "999999"  # an article nobody knows any more
        amount = dice.randrange(1, 40) * (-1 if kind in "EV" else 1)
        yield number, article, amount, kind, f"LS{20000 + number}", dice.choice(_NOTES), moment.isoformat(sep=" ")
