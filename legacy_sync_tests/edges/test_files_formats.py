"""Do JSON, Excel and Parquet files give the same plain rows as every other source?"""

import os
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_setup import read_all, source_of

from legacy_sync.errors import SourceRefused, SourceUntrustworthy
from legacy_sync.sources.base import ABSENT, BROKEN, KEY, Scope, is_json_text

OLD = time.time() - 3600


def settled(file: Path) -> None:
    os.utime(file, (OLD, OLD))


def write(file: Path, content: str, encoding: str = "utf-8") -> None:
    file.write_text(content, encoding)
    settled(file)


def book(file: Path, *rows: list[Any], sheet: str | None = None) -> None:
    """An Excel file with these rows."""
    made = openpyxl.Workbook()
    page = made.active if sheet is None else made.create_sheet(sheet)
    for row in rows:
        page.append(row)
    made.save(file)
    made.close()
    settled(file)


def files_of(folder: Path, **table: Any) -> Any:
    return source_of({"type": "files", "folder": str(folder), "tables": {"t": {"files": "t.*", **table}}})


# --- JSON --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_lines_keep_kinds_and_say_what_is_absent(tmp_path, encoding):
    write(tmp_path / "t.jsonl", '{"a": "007", "b": 7}\n\n{"a": "ß", "c": [1]}\n', encoding)
    rows, _ = read_all(files_of(tmp_path, format="json_lines", key="a"), "t")
    assert rows == [
        {KEY: "007", "a": "007", "b": 7, "c": None, ABSENT: "c"},
        {KEY: "ß", "a": "ß", "b": None, "c": "[1]", ABSENT: "b"},
    ]


def test_a_line_that_is_no_json_is_broken_alone(tmp_path):
    write(tmp_path / "t.jsonl", '{"a": 1}\n{"a": 2\n[3]\n{"a": 4}\n')
    rows, fetch = read_all(files_of(tmp_path, format="json_lines", key="a"), "t")
    assert [(row["a"], row[BROKEN]) for row in rows] == [
        (1, None),
        (None, 't.jsonl, line 2: it is no JSON: "{"a": 2"'),
        (None, 't.jsonl, line 3: it is no object: "[3]"'),
        (4, None),
    ]
    assert [row[KEY] for row in rows] == ["1", None, None, "4"]
    assert not fetch.report.complete


def test_a_json_file_has_its_rows_where_the_source_file_says(tmp_path):
    write(tmp_path / "t.json", '{"data": {"items": [{"a": 1}, 2]}}')
    rows, _ = read_all(files_of(tmp_path, format="json", records="data.items"), "t")
    assert rows[0]["a"] == 1
    assert rows[1][BROKEN].startswith("t.json, line 2: it is no object")


@pytest.mark.parametrize(
    ("content", "what"), [('{"data": [', "is no JSON"), ('{"rows": []}', "has no list of rows at")]
)
def test_a_json_file_of_another_shape_is_an_error(tmp_path, content, what):
    write(tmp_path / "t.json", content)
    with pytest.raises(SourceUntrustworthy, match=what):
        read_all(files_of(tmp_path, format="json", records="data"), "t")


# --- Excel -------------------------------------------------------------------------------------


def test_excel_cells_stay_what_they_are(tmp_path):
    book(
        tmp_path / "t.xlsx",
        ["Nr", "Preis", "Tag", "aktiv", "Notiz"],
        ["007", 1.5, date(2025, 4, 1), True, None],
        [],
        ["8", 2, date(2025, 4, 2), False, "neu"],
    )
    rows, fetch = read_all(files_of(tmp_path, format="excel", key="Nr"), "t")
    assert rows == [
        {"Nr": "007", "Preis": 1.5, "Tag": "2025-04-01T00:00:00", "aktiv": True, "Notiz": None, KEY: "007"},
        {"Nr": "8", "Preis": 2.0, "Tag": "2025-04-02T00:00:00", "aktiv": False, "Notiz": "neu", KEY: "8"},
    ]
    assert fetch.report.complete


def test_a_column_of_numbers_and_texts_mixes_without_losing_a_zero(tmp_path):
    book(tmp_path / "t.xlsx", ["Nr"], ["007"], [8])
    (batch,) = files_of(tmp_path, format="excel").fetch(Scope("t"))
    assert batch.column("Nr").to_pylist() == ['"007"', "8"]
    assert is_json_text(batch.schema.field("Nr"))


def test_a_sheet_is_found_by_name_and_lines_above_the_header_are_left_out(tmp_path):
    book(tmp_path / "t.xlsx", ["Stand 1. April"], ["Nr"], ["1"], sheet="Daten")
    rows, _ = read_all(files_of(tmp_path, format="excel", sheet="Daten", skip_lines=1), "t")
    assert rows == [{"Nr": "1"}]
    with pytest.raises(SourceUntrustworthy, match='has no sheet "Date", but Sheet, Daten'):
        read_all(files_of(tmp_path, format="excel", sheet="Date"), "t")


def test_a_row_wider_than_the_header_is_broken(tmp_path):
    book(tmp_path / "t.xlsx", ["Nr"], ["1"], ["2", "x"])
    rows, _ = read_all(files_of(tmp_path, format="excel"), "t")
    assert rows[1] == {"Nr": None, BROKEN: 't.xlsx, line 3: 2 columns instead of 1: "2 | x"'}


def test_another_file_named_xlsx_is_an_error(tmp_path):
    write(tmp_path / "t.xlsx", "Nr\n1\n")
    with pytest.raises(SourceUntrustworthy, match=r"is no Excel file of the kind \.xlsx"):
        read_all(files_of(tmp_path, format="excel"), "t")


# --- Parquet -----------------------------------------------------------------------------------


def test_parquet_values_are_spelled_as_the_contract_says(tmp_path):
    table = pa.table(
        {
            "Nr": pa.array([1, None], pa.int16()),
            "Preis": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "Tag": pa.array([date(2025, 4, 1), None]),
            "um": pa.array([datetime(2025, 4, 1, 6, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            "Bild": pa.array([b"\x01\xff", None]),
            "Liste": pa.array([[1, 2], None]),
            "Art": pa.array(["a", None]).dictionary_encode(),
            "groß": pa.array([2**63, None], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    settled(tmp_path / "t.parquet")
    (batch,) = files_of(tmp_path, format="parquet", key="Nr").fetch(Scope("t"))
    assert batch.to_pylist()[0] == {
        "Nr": 1,
        "Preis": "1.50",
        "Tag": "2025-04-01",
        "um": "2025-04-01T06:00:00+00:00",
        "Bild": "01ff",
        "Liste": "[1,2]",
        "Art": "a",
        "groß": str(2**63),
        KEY: "1",
    }
    assert set(batch.to_pylist()[1].values()) == {None}
    assert is_json_text(batch.schema.field("Liste"))


def test_another_file_named_parquet_is_an_error(tmp_path):
    write(tmp_path / "t.parquet", "PAR1 but not really PAR1")
    with pytest.raises(SourceUntrustworthy, match="is no Parquet file"):
        read_all(files_of(tmp_path, format="parquet"), "t")


# --- what all have in common -------------------------------------------------------------------


def test_the_catalog_is_what_is_declared_or_else_what_the_newest_file_has(tmp_path):
    write(tmp_path / "t.csv", "Nr,Name\n1,a\n")
    tables = {"t": {"files": "t.*", "key": "Nr"}, "u": {"files": "u.*", "columns": ["x"]}}
    source = source_of({"type": "files", "folder": str(tmp_path), "tables": tables})
    assert {name: info.names for name, info in source.describe().items()} == {"t": ("Nr", "Name", KEY), "u": ("x",)}


def test_an_unknown_table_names_the_closest(tmp_path):
    with pytest.raises(SourceRefused, match='has no table "tt"') as caught:
        read_all(files_of(tmp_path), "tt")
    assert '"t"' in caught.value.next_step or "describe" in caught.value.next_step


def test_keys_come_alone_and_a_table_without_one_says_so(tmp_path):
    write(tmp_path / "t.csv", "a,b\n1,x\n2,y\n")
    assert list(files_of(tmp_path, key=["a", "b"]).fetch_keys("t")) == [("1|x", "2|y")]
    with pytest.raises(SourceRefused, match="has no key"):
        list(files_of(tmp_path).fetch_keys("t"))


def test_bounds_choose_rows(tmp_path):
    lines = ["2025-03-31,1", "1.4.2025,20", "5!4!2025,300", ",4000", "2025-05-01,x"]
    write(tmp_path / "t.csv", "Tag,Nr\n" + "\n".join(lines) + "\n")
    source = files_of(tmp_path, key="Nr")
    april = {"cursor": "Tag", "cursor_from": date(2025, 4, 1), "cursor_to": date(2025, 5, 1)}
    assert [r["Nr"] for r in read_all(source, "t", **april)[0]] == ["20", "300"]
    assert [r["Nr"] for r in read_all(source, "t", **april, with_blank_cursor=True)[0]] == ["20", "300", "4000"]
    early = {"cursor": "Tag", "cursor_to": date(2025, 4, 1)}
    assert [r["Nr"] for r in read_all(source, "t", **early)[0]] == ["1", "4000"]
    numbers = {"number_attribute": "Nr", "number_from": 20, "number_to": 4000}
    assert [r["Nr"] for r in read_all(source, "t", **numbers)[0]] == ["20", "300"]
    first = {"number_attribute": "Nr", "number_to": 20}
    assert [r["Nr"] for r in read_all(source, "t", **first)[0]] == ["1", "x"]
    assert [r["Nr"] for r in read_all(source, "t", key_from="2", key_to="4")[0]] == ["20", "300"]
    with pytest.raises(SourceRefused, match='no attribute "Datum" to select by'):
        read_all(source, "t", cursor="Datum", cursor_from=date(2025, 4, 1))


def test_a_probe_counts_rows_and_reads_a_file_only_once(tmp_path):
    write(tmp_path / "t.csv", "Tag,Nr\n2025-03-31,1\n2025-04-02,2\n")
    source = files_of(tmp_path)
    assert source.probe("t", "Tag", None).count == 2
    seen = source.probe("t", "Tag", date(2025, 4, 1))
    assert (seen.count, seen.newest) == (1, date(2025, 4, 2))
    assert source.probe("t", "Tag", date(2025, 4, 1)) is seen
