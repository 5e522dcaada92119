"""What is the least code that does the work? Pages -> typed tuples -> COPY into staging -> one upsert.

It checks nothing, keeps nothing, cannot park a row, find a delete or see a conflict. It is the speed of light
for this machine: `python -m legacy_sync_tests.bench.floor SERVER DATABASE PAGE_SIZE binary|text`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from operator import itemgetter
from typing import Any

import orjson
import psycopg

from legacy_sync_tests.bench.reading import read_pages
from legacy_sync_tests.bench.table import COLUMNS, TARGETS

_NULL = "\x02"  # not \N: then a backslash in a line always means that it has to be escaped
_TYPES = [kind.partition("(")[0] for kind in COLUMNS.values()]
_values_of = itemgetter(*COLUMNS)


class _Days(dict[str, date]):
    """4D's simple dates, each read once."""

    def __missing__(self, text: str) -> date:
        day, month, year = text.split("!")
        self[text] = found = date(int(year), int(month), int(day))
        return found


class _Texts(dict[str, str]):
    """The same, as PostgreSQL reads them."""

    def __missing__(self, text: str) -> str:
        day, month, year = text.split("!")
        self[text] = found = f"{int(year):04d}-{int(month):02d}-{int(day):02d}"
        return found


def main(server: str, database: str, page_size: str, form: str) -> None:
    """Brings everything over that changed on or after the newest day the table has."""
    columns = ", ".join(TARGETS)
    old = ", ".join(f"bench.{name}" for name in TARGETS)
    new = ", ".join(f"excluded.{name}" for name in TARGETS)
    options = "(format binary)" if form == "binary" else f"(null '{_NULL}')"
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        mark = cursor.execute("select max(modified_date) from bench").fetchone()
        pages = read_pages(server, int(page_size), mark[0] if mark else None)
        cursor.execute(f"create temp table staging as select {columns} from bench limit 0")
        with cursor.copy(f"copy staging ({columns}) from stdin {options}") as copy:
            if form == "binary":
                copy.set_types(_TYPES)
                for row in _tuples(pages):
                    copy.write_row(row)
            else:
                for lines in _lines(pages):
                    copy.write(lines)
        cursor.execute(
            f"insert into bench ({columns}) select {columns} from staging on conflict (uid) do update"
            f" set ({columns}) = row({new}) where ({old}) is distinct from ({new})"
        )


def _entities(pages: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    for page in pages:
        yield orjson.loads(page)["__ENTITIES"]


def _tuples(pages: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
    days = _Days()
    for rows in _entities(pages):
        for row in rows:
            values = _values_of(row)
            price, cost, weight = values[11:14]
            yield (
                *values[:11],
                Decimal(repr(price)), Decimal(repr(cost)), Decimal(repr(weight)),
                *values[14:17],
                days[values[17]], days[values[18]], values[19],
            )  # fmt: skip


def _lines(pages: Iterable[bytes]) -> Iterator[bytes]:
    days = _Texts()
    for rows in _entities(pages):
        lines = []
        for row in rows:
            values = [_NULL if v is None else v if v.__class__ is str else str(v) for v in _values_of(row)]
            values[17], values[18] = days[values[17]], days[values[18]]
            line = "\t".join(values)
            if "\\" in line or "\n" in line or "\r" in line or line.count("\t") != 19:
                line = "\t".join(map(_escaped, values))
            lines.append(line)
        yield ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


if __name__ == "__main__":
    main(*sys.argv[1:])
