"""How is a text file cut into lines and columns? Encodings, line ends and quotes of thirty years; never a guess.

Every value stays the text it is. A line that does not fit is passed on as a broken row with its place and text.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from legacy_sync.errors import SourceUntrustworthy
from legacy_sync.mapping.source_words import FilesTable

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_ENDS = {"auto": "", "cr": "\r", "lf": "\n", "crlf": "\r\n"}
_SHOWN = 200
_UNREADABLE = re.compile("[\udc80-\udcff]")
_LONGEST_FIELD = 1 << 27


@dataclass(frozen=True)
class Broken:
    """A row that could not be read: where it stands and why, with the beginning of its text."""

    line: int
    reason: str
    text: str

    def in_words(self, file: str) -> str:
        """For the quarantine."""
        shown = _readable(self.text[:_SHOWN]) + ("…" if len(self.text) > _SHOWN else "")
        return f'{file}, line {self.line}: {self.reason}: "{shown}"'


Line = list[str] | Broken


@contextmanager
def opened_text(stream: IO[bytes], table: FilesTable, where: str) -> Iterator[io.TextIOWrapper]:
    """The file as text; bytes that cannot be read become lone surrogates, so that only their line is broken."""
    head = stream.read(4)
    stream.seek(0)
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), None)
    if encoding is None or table.encoding not in ("auto", "utf-8", "utf-16"):
        encoding = table.fallback_encoding if table.encoding == "auto" else table.encoding
    elif encoding == "utf-8-sig" and table.encoding == "utf-16":
        raise _refused("the file begins like UTF-8, but is said to be UTF-16", where)
    elif encoding == "utf-16" and table.encoding == "utf-8":
        raise _refused("the file begins like UTF-16, but is said to be UTF-8", where)
    errors = "strict" if encoding.startswith("utf-16") or encoding == "utf-32" else "surrogateescape"
    text = io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline=_LINE_ENDS[table.line_ends])
    try:
        yield text
    finally:
        text.detach()  # the stream is closed by whoever opened it


def read_lines(text: io.TextIOWrapper, where: str) -> Iterator[str]:
    """The lines with their ends; raises SourceUntrustworthy where the encoding is not the declared one."""
    try:
        for line in text:  # noqa: UP028  # `yield from` would close the file together with this generator
            yield line
    except UnicodeError as error:
        reason = (
            f"byte {error.object[error.start]:#04x} at position {error.start}"
            if isinstance(error, UnicodeDecodeError)
            else str(error)
        )
        raise _refused(f"the file is not {text.encoding}: {reason}", where) from error


def split_lines(lines: Iterable[str], table: FilesTable, where: str) -> Iterator[tuple[int, Line]]:
    """The columns of each row, with the number of the line it begins in; blank lines are left out."""
    if table.quoting:
        yield from _split_quoted(lines, table, where)
        return
    for number, line in enumerate(lines, start=1):
        content = _without_end(line, table)
        if content.strip(" \t\r\n\x00"):
            yield number, _sound(content.split(table.delimiter), number, content)


def to_rows(
    numbered: Iterable[tuple[int, Line]], table: FilesTable, file: str, where: str
) -> tuple[list[str], Iterator[Line]]:
    """The names of the columns and the rows behind them; a row of another width is broken."""
    lines = iter(numbered)
    for _ in range(table.skip_lines):
        next(lines, None)
    names = list(table.columns)
    if table.header:
        names = _read_header(next(lines, None), table, file, where)
    return names, _checked(lines, names, table.delimiter)


def _read_header(first: tuple[int, Line] | None, table: FilesTable, file: str, where: str) -> list[str]:
    if first is None:
        raise _refused(f"{file} has no header line", where)
    number, line = first
    if isinstance(line, Broken):
        raise _refused(f"the header of {file} cannot be read: {line.in_words(file)}", where)
    names = [name.strip() for name in line]
    if "" in names or len(set(names)) < len(names):
        raise _refused(f"the header of {file} (line {number}) has a blank name or one twice: {', '.join(names)}", where)
    missing = [name for name in table.columns if name not in names]
    if missing:
        raise _refused(
            f"the header of {file} has no {', '.join(missing)}; it has {', '.join(names[:20])}",
            where,
            "correct `columns`, `delimiter`, `encoding` or `skip_lines` of the source file",
        )
    return names


def _checked(lines: Iterator[tuple[int, Line]], names: Sequence[str], delimiter: str) -> Iterator[Line]:
    for number, line in lines:
        if isinstance(line, list) and len(line) != len(names):
            yield Broken(number, f"{len(line)} columns instead of {len(names)}", delimiter.join(line))
        else:
            yield line


def _split_quoted(lines: Iterable[str], table: FilesTable, where: str) -> Iterator[tuple[int, Line]]:
    csv.field_size_limit(_LONGEST_FIELD)
    record = _Record(lines, table)
    reader = csv.reader(record, delimiter=table.delimiter, quotechar='"', doublequote=True, strict=True)
    while True:
        record.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if record.is_at_end:
                raise _refused(f"a quote that opens in line {record.first} never closes", where) from error
            yield record.first, Broken(record.first, f"it cannot be split ({error})", record.text)
            continue
        if len(row) > 1 or (row and row[0].strip()):
            shown = [value.translate(_SHOW) for value in row] if record.hides_ends else row
            yield record.first, _sound(shown, record.first, record.text)


class _Record:
    """Lines on their way to the reader of quotes, remembered from the beginning of a record on."""

    def __init__(self, lines: Iterable[str], table: FilesTable) -> None:
        self._lines = iter(lines)
        self._table = table
        self._kept: list[str] = []
        self.number = self.first = 0
        self.is_at_end = False

    def begin(self) -> None:
        """The next line begins a record."""
        self._kept = []
        self.first = self.number + 1

    @property
    def hides_ends(self) -> bool:
        """Whether signs of the text stand in for others, lest they end a line."""
        return self._table.line_ends != "auto"

    @property
    def text(self) -> str:
        """The record as it stands in the file."""
        text = self._kept[0] if len(self._kept) == 1 else "".join(self._kept)
        return (text.translate(_SHOW) if self.hides_ends else text).rstrip("\r\n")

    def __iter__(self) -> _Record:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.is_at_end = True
            raise
        if self.hides_ends:
            line = _without_end(line, self._table).translate(_HIDE) + "\n"
        self.number += 1
        self._kept.append(line)
        return line


def _sound(columns: list[str], number: int, content: str) -> Line:
    if not content.isascii() and _UNREADABLE.search(content):
        return Broken(number, "it has bytes that the declared encoding does not know", content)
    return columns


def _without_end(line: str, table: FilesTable) -> str:
    end = _LINE_ENDS[table.line_ends]
    return line.removesuffix(end) if end else line.rstrip("\r\n")


# With a declared line end the other characters are text; the reader of quotes would take them for ends.
_HIDE = str.maketrans({"\r": "\ue00d", "\n": "\ue00a"})
_SHOW = str.maketrans({"\ue00d": "\r", "\ue00a": "\n"})


def _readable(text: str) -> str:
    visible = text.translate({9: "\\t", 10: "\\n", 13: "\\r"})
    return visible.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _refused(what: str, where: str, next_step: str = "") -> SourceUntrustworthy:
    return SourceUntrustworthy(
        what, where=where, next_step=next_step or "look at the file, then correct it or `encoding` of the source file"
    )


def as_values(rows: Sequence[Line], names: Sequence[str], table: FilesTable) -> dict[str, list[Any]]:
    """Rows as columns; broken ones have only nulls."""
    width = len(names)
    filled = [row if isinstance(row, list) else [None] * width for row in rows]
    columns = {name: list(values) for name, values in zip(names, zip(*filled, strict=True), strict=True)}
    if table.blank_is_null:
        columns = {name: [None if value == "" else value for value in values] for name, values in columns.items()}
    return columns
