"""Is a file small enough to be read? Asked before it is unpacked: a few kilobytes can become a full memory."""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from legacy_sync.errors import SourceRefused
from legacy_sync.mapping.source_words import FilesTable, FilesWords

_MOST_PACKED = 300  # sheets of real life are packed 5 to 50 times
_PACKED_FROM = 50_000_000  # bytes; of small files even zeros only do no harm


def require_bearable(stream: IO[bytes], table: FilesTable, size: int, words: FilesWords, where: str) -> None:
    """Raises SourceRefused for a file that is larger than the source file allows, also once it is unpacked."""
    _require(size, words.max_file_bytes, "bytes", "max_file_bytes", where)
    if table.format == "excel":
        unpacked = _unpacked_zip(stream)
        _require(unpacked, words.max_file_bytes, "bytes when it is unpacked", "max_file_bytes", where)
        if unpacked > _PACKED_FROM and unpacked > _MOST_PACKED * size:
            raise SourceRefused(
                f"the file is packed {unpacked // max(size, 1):,} times, as no program packs a sheet",
                where=where,
                next_step="look at it; if it is what it should be, save it as CSV and read that",
            )
    elif table.format == "parquet":
        rows, unpacked = _told_by_parquet(stream)
        _require(rows, words.max_rows, "rows", "max_rows", where)
        _require(unpacked, words.max_file_bytes, "bytes when it is unpacked", "max_file_bytes", where)


def counted(batches: Generator[pa.RecordBatch, None, None], words: FilesWords, where: str) -> Iterator[pa.RecordBatch]:
    """The batches, until there are more rows than the source file allows; then SourceRefused."""
    rows = 0
    with closing(batches):
        for batch in batches:
            rows += batch.num_rows
            _require(rows, words.max_rows, "rows", "max_rows", where)
            yield batch


def _require(found: int, most: int, unit: str, word: str, where: str) -> None:
    if found > most:
        raise SourceRefused(
            f"the file is too large: at least {found:,} {unit}, allowed are {most:,}",
            where=where,
            next_step=f'look at it; if it is what it should be, raise "{word}" in the source file',
        )


def _unpacked_zip(stream: IO[bytes]) -> int:
    """Nothing more than a part says of its size is ever unpacked."""
    try:
        with zipfile.ZipFile(stream) as packed:
            return sum(part.file_size for part in packed.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return 0  # whoever reads it will say so
    finally:
        stream.seek(0)


def _told_by_parquet(stream: IO[bytes]) -> tuple[int, int]:
    try:
        told = pq.read_metadata(stream)
        return told.num_rows, sum(told.row_group(n).total_byte_size for n in range(told.num_row_groups))
    except (pa.ArrowException, OSError):
        return 0, 0  # whoever reads it will say so
    finally:
        stream.seek(0)
