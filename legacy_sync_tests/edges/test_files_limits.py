"""Does a file that was made to fill the memory, or is damaged, end with a sentence?"""

import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_setup import read_all, source_of
from test_files_formats import book, settled, write

from legacy_sync.errors import SourceRefused, SourceUntrustworthy

EXCEL = {"format": "excel"}


def limited(folder: Path, table: dict[str, Any], **words: Any) -> Any:
    return source_of({"type": "files", "folder": str(folder), "tables": {"t": {"files": "t.*", **table}}, **words})


def repacked(file: Path, name: str, content: bytes) -> None:
    """The same book with one part exchanged."""
    with zipfile.ZipFile(file) as old:
        parts = {part: old.read(part) for part in old.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for part, said in {**parts, name: content}.items():
            new.writestr(part, said)
    settled(file)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "a\n" + "1\n" * 100)
    with pytest.raises(SourceRefused, match="at least 202 bytes, allowed are 100"):
        read_all(limited(tmp_path, {}, max_file_bytes=100), "t")


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx", "t.parquet"])
def test_a_file_with_too_many_rows_is_not_read_to_its_end(tmp_path: Path, name: str) -> None:
    if name == "t.csv":
        write(tmp_path / name, "a\n" + "1\n" * 20)
    elif name == "t.xlsx":
        book(tmp_path / name, ["a"], *([1] for _ in range(20)))
    else:
        pq.write_table(pa.table({"a": [1] * 20}), tmp_path / name)
        settled(tmp_path / name)
    kind = {"t.csv": "csv", "t.xlsx": "excel", "t.parquet": "parquet"}[name]
    with pytest.raises(SourceRefused, match="20 rows, allowed are 19") as refusal:
        read_all(limited(tmp_path, {"format": kind}, max_rows=19), "t")
    assert "max_rows" in refusal.value.next_step
    assert len(read_all(limited(tmp_path, {"format": kind}, max_rows=20), "t")[0]) == 20


def test_a_sheet_that_unpacks_to_a_full_memory_is_not_unpacked(tmp_path: Path) -> None:
    book(tmp_path / "t.xlsx", ["a"], [1])
    repacked(tmp_path / "t.xlsx", "xl/worksheets/sheet1.xml", b" " * 80_000_000)
    with pytest.raises(SourceRefused, match=r"packed .* times"):
        read_all(limited(tmp_path, EXCEL), "t")
    with pytest.raises(SourceRefused, match="when it is unpacked"):
        read_all(limited(tmp_path, EXCEL, max_file_bytes=10_000_000), "t")


def test_a_parquet_file_that_unpacks_to_a_full_memory_is_not_unpacked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x" * 1000] * 5000}), tmp_path / "t.parquet", use_dictionary=False)
    settled(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 1_000_000
    with pytest.raises(SourceRefused, match="when it is unpacked"):
        read_all(limited(tmp_path, {"format": "parquet"}, max_file_bytes=1_000_000), "t")


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a "haha">%b]>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1"><c r="A1" t="str">
<v>&z;</v></c></row></sheetData></worksheet>""" % b"".join(
    b'<!ENTITY %c "%b">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(25)
)


@pytest.mark.parametrize(
    "part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml", "xl/styles.xml"]
)
@pytest.mark.parametrize("content", [LAUGHS, b"<not closed", b"", b"\xff\xfe\x00"])
def test_a_damaged_or_malicious_sheet_is_refused(tmp_path: Path, part: str, content: bytes) -> None:
    book(tmp_path / "t.xlsx", ["a"], ["text"])
    repacked(tmp_path / "t.xlsx", part, content)
    with pytest.raises(SourceUntrustworthy, match=r"is damaged|is no Excel file|header|has no") as refusal:
        read_all(limited(tmp_path, EXCEL), "t")
    assert len(refusal.value.what) < 500


@pytest.mark.parametrize("cut", [4, 100, 2000])
def test_a_cut_sheet_is_refused(tmp_path: Path, cut: int) -> None:
    book(tmp_path / "t.xlsx", ["a"], *([n] for n in range(500)))
    content = (tmp_path / "t.xlsx").read_bytes()
    (tmp_path / "t.xlsx").write_bytes(content[:cut])
    settled(tmp_path / "t.xlsx")
    with pytest.raises(SourceUntrustworthy):
        read_all(limited(tmp_path, EXCEL), "t")


@pytest.mark.parametrize("place", [8, 100, 2000, -20])
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, place: int) -> None:
    pq.write_table(pa.table({"a": [f"text {n}" for n in range(2000)]}), tmp_path / "t.parquet")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[place : place + 8 if place > 0 else None] = b"\xff" * (8 if place > 0 else 20)
    (tmp_path / "t.parquet").write_bytes(bytes(content))
    settled(tmp_path / "t.parquet")
    with pytest.raises(SourceUntrustworthy, match="no Parquet"):
        read_all(limited(tmp_path, {"format": "parquet"}), "t")
