"""How would one do it with dlt, done well? An own resource that yields Arrow tables, upserted by key.

dlt's own REST source takes three times as long; Arrow is what its documentation advises for speed. Runs in an
environment of its own: `python -m legacy_sync_tests.bench.peer_dlt SERVER DATABASE PAGE_SIZE STATE_FOLDER`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import date
from typing import Any

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}

import dlt
import orjson
import pyarrow as pa

from legacy_sync_tests.bench.reading import read_pages
from legacy_sync_tests.bench.table import COLUMNS

_TYPES = {"bigint": pa.int64(), "boolean": pa.bool_(), "date": pa.date32(), "numeric(14,4)": pa.float64()}
_MONEY = pa.decimal128(14, 4)


def main(server: str, database: str, page_size: str, folder: str) -> None:
    """Runs the pipeline; its state lies in `folder` and in the database."""

    def pages(
        cursor: Any = dlt.sources.incremental("modified_date", initial_value=date(1900, 1, 1)),  # noqa: B008
    ) -> Iterator[pa.Table]:
        # Not `last_value`: that one moves with every page and would lose rows in the middle of a fetch.
        since = None if cursor.start_value == date(1900, 1, 1) else cursor.start_value
        days: dict[str, date] = {}
        for page in read_pages(server, int(page_size), since):
            yield _table_of(orjson.loads(page)["__ENTITIES"], days)

    upsert = {"disposition": "merge", "strategy": "upsert"}
    bench = dlt.resource(pages, name="bench", primary_key="uid", write_disposition=upsert)
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.postgres(credentials=database),
        dataset_name="bench",
        pipelines_dir=folder,
    )
    pipeline.run(bench, loader_file_format="csv").raise_on_failed_jobs()


def _table_of(rows: list[dict[str, Any]], days: dict[str, date]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name, kind in COLUMNS.items():
        values = [row[name] for row in rows]
        if kind == "date":
            values = [days.get(text) or days.setdefault(text, _day(text)) for text in values]
        array = pa.array(values, _TYPES.get(kind, pa.string()))
        columns[name.lower()] = array.cast(_MONEY) if kind.startswith("numeric") else array
    return pa.table(columns)


def _day(text: str) -> date:
    day, month, year = map(int, text.split("!"))
    return date(year, month, day)


if __name__ == "__main__":
    main(*sys.argv[1:])
