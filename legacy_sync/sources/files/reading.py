"""How does each format become batches? One function per format; all of them give plain values.

Memory is flat for CSV, JSON lines, Excel and Parquet; a JSON file is read as a whole.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from legacy_sync.errors import SourceUntrustworthy
from legacy_sync.mapping.source_words import FilesTable
from legacy_sync.sources.base import BROKEN, KEY, KEY_SEPARATOR
from legacy_sync.sources.files.text import Broken, Line, as_values, opened_text, read_lines, split_lines, to_rows
from legacy_sync.sources.four_d.wire import to_batch as objects_to_batch
from legacy_sync.sources.plain import key_column, read_path, to_batch, to_plain_batch

T = TypeVar("T")

# What the libraries say of a damaged file; ParseError is a SyntaxError, and entities of XML a ValueError.
_BROKEN_BOOK = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, IndexError, TypeError, ValueError, AttributeError,
                SyntaxError, NotImplementedError)  # fmt: skip

_BATCH_ROWS = 10_000

Batches = Generator[pa.RecordBatch, None, None]
Reader = Callable[[IO[bytes], FilesTable, str, str], Batches]


def read_file(stream: IO[bytes], table: FilesTable, file: str, where: str) -> Batches:
    """The rows of one file; raises SourceUntrustworthy if it is not what the source file says."""
    return _READERS[table.format](stream, table, file, where)


def _read_csv(stream: IO[bytes], table: FilesTable, file: str, where: str) -> Batches:
    with opened_text(stream, table, where) as text:
        numbered = split_lines(read_lines(text, where), table, where)
        names, rows = to_rows(numbered, table, file, where)
        for several in _several(rows):
            yield _table_batch(as_values(several, names, table), _broken_of(several, file), table, where)


def _read_json_lines(stream: IO[bytes], table: FilesTable, file: str, where: str) -> Batches:
    with opened_text(stream, table, where) as text:
        for several in _several(_objects(read_lines(text, where))):
            yield _objects_batch(several, file, table)


def _read_json(stream: IO[bytes], table: FilesTable, file: str, where: str) -> Batches:
    with opened_text(stream, table, where) as text:
        content = "".join(read_lines(text, where))
    try:
        data = orjson.loads(content)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise _refused(f"{file} is no JSON: {error}", where) from error
    found = read_path(data, table.records)
    if not isinstance(found, list):
        place = f'at "{table.records}"' if table.records else "at its top"
        raise _refused(f"{file} has no list of rows {place}", where)
    rows = [item if isinstance(item, dict) else Broken(n, "it is no object", str(item)) for n, item in _counted(found)]
    for several in _several(rows):
        yield _objects_batch(several, file, table)


def _read_excel(stream: IO[bytes], table: FilesTable, file: str, where: str) -> Batches:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(stream, read_only=True, data_only=True)
    except (*_BROKEN_BOOK, InvalidFileException) as error:
        raise _refused(f"{file} is no Excel file of the kind .xlsx: {error}", where) from error
    try:
        if table.sheet is not None and table.sheet not in book.sheetnames:
            raise _refused(f'{file} has no sheet "{table.sheet}", but {", ".join(book.sheetnames)}', where)
        sheet = book[table.sheet] if table.sheet is not None else book.worksheets[0]
        sheet.reset_dimensions()  # programs write wrong ones, and rows would be missing
        names, rows = _excel_rows(sheet.iter_rows(values_only=True), table, file, where)
        for several in _several(rows):
            values = as_values(several, names, table)
            yield _table_batch(values, _broken_of(several, file), table, where)
    except _BROKEN_BOOK as error:
        raise _refused(f"{file} is damaged: {error}", where) from error
    finally:
        book.close()


def _read_parquet(stream: IO[bytes], table: FilesTable, file: str, where: str) -> Batches:
    try:
        with pq.ParquetFile(stream) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
                yield _with_key(to_plain_batch(batch), table, where)
    except (pa.ArrowException, OSError) as error:
        raise _refused(f"{file} is no Parquet file: {error}", where) from error


_READERS: dict[str, Reader] = {
    "csv": _read_csv,
    "json_lines": _read_json_lines,
    "json": _read_json,
    "excel": _read_excel,
    "parquet": _read_parquet,
}


def _excel_rows(
    rows: Iterable[tuple[Any, ...]], table: FilesTable, file: str, where: str
) -> tuple[list[str], Iterator[Line]]:
    """Cells as they are: a text "007" stays a text, a number a number; rows without any value are left out."""
    numbered = ((n, _trimmed(row)) for n, row in _counted(rows))
    filled = ((n, row) for n, row in numbered if row)
    lines = iter(filled)
    for _ in range(table.skip_lines):
        next(lines, None)
    names = list(table.columns)
    if table.header:
        first = next(lines, (1, []))
        header: tuple[int, Line] = (first[0], ["" if cell is None else str(cell) for cell in first[1]])
        names, _ = to_rows([header], table.model_copy(update={"skip_lines": 0}), file, where)
    return names, (_padded(n, row, len(names)) for n, row in lines)


def _trimmed(row: tuple[Any, ...]) -> list[Any]:
    """Without the empty cells at the end, of which sheets have any number."""
    cells = list(row)
    while cells and cells[-1] in (None, ""):
        cells.pop()
    return cells


def _padded(number: int, row: list[Any], width: int) -> Line:
    if len(row) > width:
        return Broken(number, f"{len(row)} columns instead of {width}", " | ".join(map(str, row)))
    return row + [None] * (width - len(row))


def _objects(lines: Iterable[str]) -> Iterator[dict[str, Any] | Broken]:
    for number, line in _counted(lines):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            yield Broken(number, "it is no JSON", line.rstrip("\r\n"))
            continue
        yield found if isinstance(found, dict) else Broken(number, "it is no object", line.rstrip("\r\n"))


def _objects_batch(rows: Sequence[dict[str, Any] | Broken], file: str, table: FilesTable) -> pa.RecordBatch:
    sound = [row if isinstance(row, dict) else {} for row in rows]
    broken = _broken_of(rows, file)
    if table.key:
        keys = key_column([[row.get(name) for row in sound] for name in table.key], KEY_SEPARATOR)
        sound = [{KEY: key, **row} for key, row in zip(keys, sound, strict=True)]
    if broken is not None:
        names = dict.fromkeys(name for row in sound for name in row)
        # a row nobody could read says nothing, not even that it lacks something
        sound = [row if reason is None else dict.fromkeys(names) for row, reason in zip(sound, broken, strict=True)]
    return _with_broken(objects_to_batch(sound), broken)


def _table_batch(
    columns: dict[str, list[Any]], broken: list[str | None] | None, table: FilesTable, where: str
) -> pa.RecordBatch:
    return _with_broken(_with_key(to_batch(columns), table, where, columns), broken)


def _with_key(
    batch: pa.RecordBatch, table: FilesTable, where: str, columns: dict[str, list[Any]] | None = None
) -> pa.RecordBatch:
    if not table.key:
        return batch
    missing = [name for name in table.key if name not in batch.schema.names]
    if missing:
        raise _refused(f"there is no column {', '.join(missing)} to name the rows by", where, "correct `key`")
    parts = [columns[name] if columns else batch.column(name).to_pylist() for name in table.key]
    return batch.append_column(KEY, pa.array(key_column(parts, KEY_SEPARATOR), pa.string()))


def _with_broken(batch: pa.RecordBatch, broken: list[str | None] | None) -> pa.RecordBatch:
    if broken is None:
        return batch
    array = pa.array(broken, pa.string())
    if not batch.schema.names:  # all of them are
        return pa.RecordBatch.from_arrays([array], [BROKEN])
    return batch.append_column(BROKEN, array)


def _broken_of(rows: Sequence[Any], file: str) -> list[str | None] | None:
    """For each row where it stands and what is wrong with it; None if all are sound."""
    if not any(isinstance(row, Broken) for row in rows):
        return None
    return [row.in_words(file) if isinstance(row, Broken) else None for row in rows]


def _several(rows: Iterable[T]) -> Iterator[list[T]]:
    waiting = iter(rows)
    while several := list(islice(waiting, _BATCH_ROWS)):
        yield several


def _counted(items: Iterable[T]) -> Iterator[tuple[int, T]]:
    return enumerate(items, start=1)


def _refused(
    what: str, where: str, next_step: str = "look at the file, then correct it or the source file"
) -> SourceUntrustworthy:
    return SourceUntrustworthy(what, where=where, next_step=next_step)
