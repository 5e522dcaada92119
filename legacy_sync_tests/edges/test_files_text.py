"""Are text files read as they were written: every encoding, line end and delimiter, and no value guessed?"""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from source_setup import read_all, source_of

from legacy_sync.errors import SourceUntrustworthy
from legacy_sync.sources.base import BROKEN, KEY, Scope

OLD = time.time() - 3600
ROWS = [["Nummer", "Name", "Preis"], ["007", "Fünf Größen", "1,50"], ["12", "É-Förmchen", ""]]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "windows-1252", "mac_roman", "iso-8859-1", "cp850"]
LINE_ENDS = {"cr": "\r", "lf": "\n", "crlf": "\r\n"}
DELIMITERS = {"tab": "\t", "semicolon": ";", "comma": ","}


def write(folder: Path, name: str, content: bytes | str, encoding: str = "utf-8") -> Path:
    """A file that has been there for an hour."""
    file = folder / name
    if isinstance(content, str):
        bom = "\ufeff" if encoding == "utf-16-le-bom" else ""
        content = (bom + content).encode("utf-16-le" if bom else encoding)
    file.write_bytes(content)
    os.utime(file, (OLD, OLD))
    return file


def files_of(folder: Path, **table: Any) -> Any:
    """A source with the one table "t"."""
    return source_of({"type": "files", "folder": str(folder), "tables": {"t": {"files": "t.*", **table}}})


def values(rows: list[dict[str, Any]]) -> list[list[Any]]:
    return [list(row.values()) for row in rows]


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("quoting", [True, False])
def test_every_make_of_text_file_gives_the_same_rows(tmp_path, encoding, delimiter, end, quoting):
    sign = DELIMITERS[delimiter]
    lines = [[f'"{v}"' if quoting and sign in v else v.replace(sign, ".") for v in row] for row in ROWS]
    write(tmp_path, "t.txt", "".join(sign.join(line) + LINE_ENDS[end] for line in lines), encoding)
    declared = {"utf-8-sig": "auto", "utf-16-le-bom": "auto"}.get(encoding, encoding)
    rows, fetch = read_all(
        files_of(tmp_path, encoding=declared, delimiter=delimiter, quoting=quoting, key="Nummer"), "t"
    )
    price = "1.50" if delimiter == "comma" and not quoting else "1,50"
    assert rows == [
        {"Nummer": "007", "Name": "Fünf Größen", "Preis": price, KEY: "007"},
        {"Nummer": "12", "Name": "É-Förmchen", "Preis": None, KEY: "12"},
    ]
    assert fetch.report.complete


@pytest.mark.parametrize("fallback", ["windows-1252", "mac_roman"])
def test_auto_looks_at_the_first_bytes_and_else_takes_what_is_declared(tmp_path, fallback):
    source = files_of(tmp_path, encoding="auto", fallback_encoding=fallback)
    for encoding in ("utf-8-sig", "utf-16", fallback):
        write(tmp_path, "t.csv", "Name\nWeiß\n", encoding)
        assert values(read_all(source, "t")[0]) == [["Weiß"]]


def test_the_bom_of_another_encoding_than_the_declared_one_is_an_error(tmp_path):
    write(tmp_path, "t.csv", "Name\nWeiß\n", "utf-16")
    with pytest.raises(SourceUntrustworthy, match="begins like UTF-16, but is said to be UTF-8"):
        read_all(files_of(tmp_path, encoding="utf-8"), "t")


def test_a_declared_line_end_leaves_the_other_signs_in_the_text(tmp_path):
    write(tmp_path, "t.txt", "Name\tText\rA\tzwei\nZeilen\rB\tZeile\r")
    rows, _ = read_all(files_of(tmp_path, delimiter="tab", line_ends="cr", quoting=False), "t")
    assert values(rows) == [["A", "zwei\nZeilen"], ["B", "Zeile"]]
    rows, _ = read_all(files_of(tmp_path, delimiter="tab", line_ends="cr"), "t")
    assert values(rows) == [["A", "zwei\nZeilen"], ["B", "Zeile"]]


def test_quotes_hold_delimiters_quotes_and_line_ends(tmp_path):
    write(tmp_path, "t.csv", 'Name;Text\r\n"a;b";"sagt ""ja""\r\nund geht"\r\n')
    assert values(read_all(files_of(tmp_path, delimiter=";"), "t")[0]) == [["a;b", 'sagt "ja"\r\nund geht']]


def test_without_quoting_a_quote_is_a_sign_like_any_other(tmp_path):
    write(tmp_path, "t.txt", 'Name\tText\r12" Figur\t"\r')
    assert values(read_all(files_of(tmp_path, delimiter="tab", quoting=False), "t")[0]) == [['12" Figur', '"']]


def test_names_may_be_declared_and_lines_before_the_header_left_out(tmp_path):
    write(tmp_path, "t.txt", "1,a\n2,b\n")
    rows, _ = read_all(files_of(tmp_path, header=False, columns=["Nr", "Name"]), "t")
    assert rows == [{"Nr": "1", "Name": "a"}, {"Nr": "2", "Name": "b"}]
    write(tmp_path, "t.txt", "Export of 1 April\n\nNr,Name\n1,a\n")
    assert read_all(files_of(tmp_path, skip_lines=1), "t")[0] == [{"Nr": "1", "Name": "a"}]


def test_blank_may_stay_blank(tmp_path):
    write(tmp_path, "t.csv", "Nr,Name\n1,\n")
    assert read_all(files_of(tmp_path, blank_is_null=False), "t")[0] == [{"Nr": "1", "Name": ""}]


@pytest.mark.parametrize("quoting", [True, False])
def test_a_row_with_other_columns_is_passed_on_as_broken_with_its_line(tmp_path, quoting):
    write(tmp_path, "t.csv", "Nr,Name\n1,a\n2\n3,c,d\n\n4,e\n")
    rows, fetch = read_all(files_of(tmp_path, key="Nr", quoting=quoting), "t")
    assert [row["Nr"] for row in rows] == ["1", None, None, "4"]
    assert [row[BROKEN] for row in rows] == [
        None,
        't.csv, line 3: 1 columns instead of 2: "2"',
        't.csv, line 4: 3 columns instead of 2: "3,c,d"',
        None,
    ]
    assert [row[KEY] for row in rows] == ["1", None, None, "4"]
    assert not fetch.report.complete, "a row nobody could read may be any row, so nobody is gone"
    assert fetch.report.notes == ("2 rows could not be read",)


def test_a_line_with_bytes_of_another_encoding_is_broken_alone(tmp_path):
    write(tmp_path, "t.csv", b"Nr,Name\n1,gut\n2," + "Weiß".encode("windows-1252") + b"\n3,auch\n")
    rows, _ = read_all(files_of(tmp_path), "t")
    assert [row["Name"] for row in rows] == ["gut", None, "auch"]
    assert rows[1][BROKEN] == 't.csv, line 3: it has bytes that the declared encoding does not know: "2,Wei\\xdf"'


def test_a_stray_quote_breaks_its_row_only(tmp_path):
    write(tmp_path, "t.csv", 'Nr,Name\n1,"a" b\n2,c\n')
    rows, _ = read_all(files_of(tmp_path), "t")
    assert [row["Nr"] for row in rows] == [None, "2"]
    assert "line 2: it cannot be split" in rows[0][BROKEN]


def test_a_quote_that_never_closes_is_an_error_and_swallows_no_rows(tmp_path):
    write(tmp_path, "t.csv", 'Nr,Name\n1,a\n2,"b\n3,c\n4,d\n')
    with pytest.raises(SourceUntrustworthy, match="a quote that opens in line 3 never closes") as caught:
        read_all(files_of(tmp_path), "t")
    assert "t.csv" in caught.value.where


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("Nr,Nr\n1,2\n", "has a blank name or one twice: Nr, Nr"),
        ("Nr,\n1,2\n", "has a blank name or one twice"),
        ("Nummer,Name\n1,2\n", "has no Nr; it has Nummer, Name"),
        ("\n\n", "has no header line"),
    ],
)
def test_a_header_that_cannot_be_right_is_an_error(tmp_path, content, what):
    write(tmp_path, "t.csv", content)
    with pytest.raises(SourceUntrustworthy, match=what):
        read_all(files_of(tmp_path, columns=["Nr"]), "t")


def test_half_a_utf_16_file_is_an_error(tmp_path):
    write(tmp_path, "t.csv", "Nr,Name\n1,a\n".encode("utf-16")[:-1])
    with pytest.raises(SourceUntrustworthy, match="the file is not utf-16"):
        read_all(files_of(tmp_path), "t")


def test_a_file_with_a_header_only_is_a_table_without_rows(tmp_path):
    write(tmp_path, "t.csv", "Nr,Name\n")
    rows, fetch = read_all(files_of(tmp_path), "t")
    assert (rows, fetch.report.complete, fetch.report.rows) == ([], True, 0)


def test_a_large_file_comes_in_batches(tmp_path):
    write(tmp_path, "t.csv", "Nr,Name\n" + "".join(f"{n},Name {n}\n" for n in range(25_000)))
    sizes = [batch.num_rows for batch in files_of(tmp_path).fetch(Scope("t"))]
    assert sizes == [10_000, 10_000, 5_000]
