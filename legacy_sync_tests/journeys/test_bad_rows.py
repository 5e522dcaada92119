"""Do 500 bad rows of every kind among 10,000 wait with their reason, while the others are in the ERP?

What they cost is a stage of `make bench`.
"""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from legacy_sync_tests.bench.bad_rows import EVERY, KINDS, ROWS, goods, kind_of, load, record


@pytest.mark.slow
def test_bad_rows_of_every_kind_wait_and_all_others_are_loaded(erp_url: str, tmp_path: Path):
    with goods(erp_url, tmp_path, is_dirty=True) as workspace:
        report = load(workspace)
    assert (report.counts.inserted, report.counts.parked) == (ROWS - ROWS // EVERY, ROWS // EVERY)
    with psycopg.connect(erp_url, row_factory=dict_row) as connection:
        loaded = connection.execute("select number from goods where name <> 'made by hand'").fetchall()
        parked = connection.execute("select reason, column_name, value, row from legacy_sync.quarantine").fetchall()
    good = {record(n, None)["Nummer"] for n in range(1, ROWS + 1) if kind_of(n) is None}
    assert {row["number"] for row in loaded} == good
    assert len(loaded) == len(good)
    bad = {n: str(kind_of(n)) for n in range(1, ROWS + 1) if kind_of(n)}
    assert set(bad.values()) == set(KINDS)
    assert {number_of(p["row"]): said(p) for p in parked} == {n: expected(n, kind) for n, kind in bad.items()}


def number_of(row: dict[str, Any]) -> int:
    return int(row["UID"], 16)


def said(parked: dict[str, Any]) -> tuple[Any, ...]:
    sent = {name: value for name, value in parked["row"].items() if not name.startswith("__")}
    return parked["reason"], parked["column_name"], parked["value"], sent


def expected(number: int, kind: str) -> tuple[Any, ...]:
    bad = KINDS[kind]
    return bad.reason, bad.column, bad.value(number), record(number, kind)
