"""Where do fetched rows lie until they are loaded, and how do we know that a fetch is whole?

One folder per table and partition, one folder of Parquet parts per fetch. The manifest beside it is
written last, aside and then renamed: a fetch without a manifest does not exist. ::

    <root>/<Table>/<partition>/<fetch_id>/part-000.parquet
    <root>/<Table>/<partition>/<fetch_id>.json
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote, unquote

import fsspec
import fsspec.core
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from legacy_sync.errors import LandingUnusable
from legacy_sync.settings import mask_url
from legacy_sync.sources.cost import NOTHING, Cost

logger = logging.getLogger(__name__)

FULL, INCREMENTAL = "full", "incremental"

_SWEEP_AFTER = timedelta(days=1)
_FETCH_ID = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{8}")
_BATCH_ROWS = 20_000
_COMPRESSION = "zstd"  # half the size of lz4 or snappy, at the same speed


@dataclass(frozen=True)
class LandedFetch:
    """One committed fetch; `fetch_id` sorts by time, `parts` are file names inside the fetch's folder."""

    table: str
    partition: str
    fetch_id: str
    rows: int
    mode: str
    complete: bool
    server_time: datetime
    parts: tuple[str, ...]
    table_fingerprint: str = ""
    stamp: int | None = None
    """where the source's counter of changes stood before the first row was read"""
    cost: Cost = NOTHING
    """this fetch's part of what was spent; nothing in a fetch that was landed by an older program, or made of others"""
    all_rows_because: str = ""
    """why all rows were read although only changes were asked for"""
    changes_up_to: datetime | None = None
    """when the fetch began, if with those landed before in the same run it has all changes up to then"""

    @property
    def fetched_at(self) -> int:
        """When the fetch began, in microseconds since 1970."""
        return fetched_at(self.fetch_id)


class Landing:
    """Fetched rows under one root, a local folder or any fsspec URL; several machines may share it."""

    def __init__(self, root: str, source: str = "") -> None:
        """Below `root`, `source` has a folder of its own, so that rows of two servers never meet."""
        self.root = root
        try:
            self._files, self._root = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:
            raise _unusable(root, error) from error
        self._is_local = isinstance(self._files, LocalFileSystem)
        if source:
            self._root = f"{self._root.rstrip('/')}/{_safe_name(source)}"

    def beside(self, source: str) -> Landing:
        """The landing of another source under the same root."""
        return Landing(self.root, source)

    def open_fetch(self, table: str, partition: str, *, same_time_as: str | None = None) -> LandingWriter:
        """A writer for one new fetch; also sweeps what dead fetches left here more than a day ago.

        `same_time_as` is the id of a fetch whose time, and thus its place among the others, it shares.
        """
        with self.usable():
            self._sweep(table, partition)
        return LandingWriter(self, table, partition, new_fetch_id(same_time_as))

    def fetches(self, table: str, partition: str) -> list[LandedFetch]:
        """The committed fetches of a partition, oldest first."""
        with self.usable():
            names = self._names(self._folder(table, partition))
            ids = sorted(name[: -len(".json")] for name in names if _is_manifest(name))
            found = [self._find_manifest(table, partition, fetch_id) for fetch_id in ids]
        return [fetch for fetch in found if fetch]

    def partitions(self, table: str) -> list[str]:
        """The partitions of a table that hold a committed fetch."""
        with self.usable():
            found = [_unsafe_name(name) for name in self._names(self._folder(table))]
            return sorted(p for p in found if any(map(_is_manifest, self._names(self._folder(table, p)))))

    def read(self, fetch: LandedFetch, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The batches of a fetch in the order they were written, with all or some columns."""
        for part in fetch.parts:
            path = f"{self._folder(fetch.table, fetch.partition)}/{fetch.fetch_id}/{part}"
            with self.usable(), self._files.open(path, "rb") as file, pq.ParquetFile(file) as parquet:
                yield from parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns)

    def prune(self, table: str, partition: str, keep: int) -> int:
        """Remove everything older than the `keep`-th newest full fetch; returns how many fetches went.

        Incremental fetches after the oldest kept full one stay: together they are the table's state.
        """
        landed = self.fetches(table, partition)
        full = [fetch.fetch_id for fetch in landed if fetch.mode == FULL]
        if keep < 1 or len(full) < keep:
            return 0
        old = [fetch for fetch in landed if fetch.fetch_id < full[-keep]]
        self.remove(old)
        return len(old)

    def remove(self, fetches: Sequence[LandedFetch]) -> None:
        """Forget landed fetches and their rows."""
        for fetch in fetches:
            folder = self._folder(fetch.table, fetch.partition)
            with self.usable():
                self._files.rm_file(f"{folder}/{fetch.fetch_id}.json")  # first, so that no reader sees half a fetch
                self._remove(f"{folder}/{fetch.fetch_id}")

    @contextmanager
    def usable(self) -> Iterator[None]:
        """Turns what a file system may say into LandingUnusable."""
        try:
            yield
        except (OSError, pa.ArrowInvalid) as error:
            raise _unusable(self.root, error) from error

    def _folder(self, *names: str) -> str:
        return "/".join([self._root.rstrip("/"), *map(_safe_name, names)])

    def _names(self, folder: str) -> list[str]:
        try:
            return [path.rstrip("/").rsplit("/", 1)[-1] for path in self._files.ls(folder, detail=False)]
        except FileNotFoundError:
            return []

    def _make_folder(self, folder: str) -> None:
        if not self._is_local:
            self._files.makedirs(folder, exist_ok=True)
            return
        for path in [*reversed(Path(folder).parents), Path(folder)]:
            if path.is_relative_to(self._root) or not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)

    def _make_private(self, path: str) -> None:
        if self._is_local:
            Path(path).chmod(0o600)

    def _make_durable(self, file: Any) -> None:
        if self._is_local:
            file.flush()
            os.fsync(file.fileno())

    def _find_manifest(self, table: str, partition: str, fetch_id: str) -> LandedFetch | None:
        """A fetch, or None if its manifest is damaged: it then counts as one that never ended."""
        try:
            return self._read_manifest(table, partition, fetch_id)
        except (ValueError, KeyError, TypeError):
            logger.warning("the landed fetch %s of %s is left out: its manifest is damaged", fetch_id, table)
            return None

    def _read_manifest(self, table: str, partition: str, fetch_id: str) -> LandedFetch:
        text = self._files.cat_file(f"{self._folder(table, partition)}/{fetch_id}.json")
        said: dict[str, Any] = json.loads(text)
        return LandedFetch(
            table=table,
            partition=partition,
            fetch_id=fetch_id,
            rows=said["rows"],
            mode=said["mode"],
            complete=said["complete"],
            server_time=datetime.fromisoformat(said["server_time"]),
            parts=tuple(said["parts"]),
            table_fingerprint=said["table_fingerprint"],
            stamp=said.get("stamp"),
            cost=Cost(said.get("requests", 0), said.get("bytes", 0), said.get("seconds", 0.0)),
            all_rows_because=said.get("all_rows_because", ""),
            changes_up_to=datetime.fromisoformat(up_to) if (up_to := said.get("changes_up_to")) else None,
        )

    def _write_manifest(self, fetch: LandedFetch) -> None:
        said = {
            "table": fetch.table,
            "partition": fetch.partition,
            "rows": fetch.rows,
            "mode": fetch.mode,
            "complete": fetch.complete,
            "server_time": fetch.server_time.isoformat(),
            "parts": list(fetch.parts),
            "table_fingerprint": fetch.table_fingerprint,
            "stamp": fetch.stamp,
            **asdict(fetch.cost),
            "all_rows_because": fetch.all_rows_because,
            "changes_up_to": fetch.changes_up_to.isoformat() if fetch.changes_up_to else None,
        }
        target = f"{self._folder(fetch.table, fetch.partition)}/{fetch.fetch_id}.json"
        aside = f"{target}.aside"
        with self._files.open(aside, "wb") as file:
            file.write(json.dumps(said, indent=1, ensure_ascii=False).encode())
            self._make_durable(file)
        self._make_private(aside)
        self._files.mv(aside, target)

    def _remove(self, folder: str) -> None:
        try:
            self._files.rm(folder, recursive=True)
        except FileNotFoundError:
            return  # an empty fetch has no folder, or another process was faster

    def _sweep(self, table: str, partition: str) -> None:
        """Remove what fetches that never committed left behind; their age is in their id."""
        folder = self._folder(table, partition)
        names = set(self._names(folder))
        newest_dead = (datetime.now(UTC) - _SWEEP_AFTER).strftime("%Y%m%dT%H%M%S")
        for name in names:
            fetch_id = name.split(".", 1)[0]
            is_dead = _FETCH_ID.fullmatch(fetch_id) and f"{fetch_id}.json" not in names
            if is_dead and fetch_id < newest_dead:
                self._remove(f"{folder}/{name}")


class LandingWriter:
    """Writes the batches of one fetch; leaving it without `commit` leaves nothing behind."""

    def __init__(self, landing: Landing, table: str, partition: str, fetch_id: str) -> None:
        self._landing, self._table, self._partition = landing, table, partition
        self._folder = f"{landing._folder(table, partition)}/{fetch_id}"
        self.fetch_id = fetch_id
        self._parts: list[str] = []
        self._file: Any = None
        self._parquet: pq.ParquetWriter | None = None
        self._is_committed = False

    def __enter__(self) -> LandingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_committed:
            return
        with suppress(OSError):  # whatever went wrong before says more
            self._close_part()
        with suppress(OSError):
            self._landing._remove(self._folder)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; another schema than the last one's starts a new part file."""
        if batch.num_rows == 0:
            return
        with self._landing.usable():
            if self._parquet is None or not self._parquet.schema.equals(batch.schema, check_metadata=True):
                self._open_part(batch.schema)
            if self._parquet is not None:
                self._parquet.write_batch(batch)

    def commit(
        self,
        *,
        mode: Literal["full", "incremental"] | str,
        server_time: datetime,
        rows: int,
        complete: bool,
        table_fingerprint: str = "",
        stamp: int | None = None,
        cost: Cost = NOTHING,
        all_rows_because: str = "",
        changes_up_to: datetime | None = None,
    ) -> LandedFetch:
        """Make the fetch visible; afterwards nothing more can be written."""
        if mode not in (FULL, INCREMENTAL):
            raise ValueError(f'a fetch is "full" or "incremental", not "{mode}"')
        parts = tuple(self._parts)
        fetch = LandedFetch(
            self._table,
            self._partition,
            self.fetch_id,
            rows,
            mode,
            complete,
            server_time,
            parts,
            table_fingerprint,
            stamp,
            cost,
            all_rows_because,
            changes_up_to,
        )
        with self._landing.usable():
            self._close_part()
            self._landing._make_folder(self._landing._folder(self._table, self._partition))
            self._landing._write_manifest(fetch)
        self._is_committed = True
        return fetch

    def _open_part(self, schema: pa.Schema) -> None:
        self._close_part()
        self._landing._make_folder(self._folder)
        part = f"part-{len(self._parts):03d}.parquet"
        path = f"{self._folder}/{part}"
        self._file = self._landing._files.open(path, "wb")
        self._landing._make_private(path)
        self._parquet = pq.ParquetWriter(self._file, schema, compression=_COMPRESSION, use_dictionary=False)
        self._parts.append(part)

    def _close_part(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
            self._landing._make_durable(self._file)
            self._file.close()
        self._parquet = self._file = None


def _unusable(root: str, error: Exception) -> LandingUnusable:
    return LandingUnusable(
        f"the landing cannot be used: {str(error).replace(root, mask_url(root))}",
        where=f'LEGACY_SYNC_LANDING "{mask_url(root)}"',
        next_step="check that the folder can be written and has room, or point LEGACY_SYNC_LANDING elsewhere",
    )


def since_last_full(landed: Sequence[LandedFetch]) -> list[LandedFetch]:
    """The newest full fetch and everything after it: together the state of the partition."""
    full = [n for n, f in enumerate(landed) if f.mode == FULL]
    return list(landed[full[-1] :]) if full else list(landed)


def fetched_at(fetch_id: str) -> int:
    """The time in a fetch id, as microseconds since 1970."""
    instant = datetime.strptime(fetch_id.split("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    return int(instant.timestamp() * 1_000_000)


def new_fetch_id(same_time_as: str | None = None) -> str:
    """An id that no other fetch has, of now or of the time of another."""
    time = same_time_as.split("-")[0] if same_time_as else f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}Z"
    return f"{time}-{secrets.token_hex(4)}"


def _is_manifest(name: str) -> bool:
    return name.endswith(".json") and _FETCH_ID.fullmatch(name[: -len(".json")]) is not None


def _safe_name(name: str) -> str:
    """A reversible ASCII path name: no separators, no leading dot, no letter case lost."""
    safe = quote(name, safe="")
    return "%2E" + safe[1:] if safe.startswith(".") else safe or "%00"


def _unsafe_name(name: str) -> str:
    return "" if name == "%00" else unquote(name)
