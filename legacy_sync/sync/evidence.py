"""Which landed copies of records are of records that are gone by now? Tombstones and lists of all keys say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.sources.base import KEY
from legacy_sync.sources.landing import LandedFetch, Landing
from legacy_sync.sync.windows import DELETED, KEYS


@dataclass
class Gone:
    """Which records are known to be gone, and since when (microseconds since 1970)."""

    deleted: dict[str, int] = field(default_factory=dict)
    listed: pa.Array | None = None
    """the newest list of all keys, read at `listed_at`"""
    listed_at: int = 0

    def alive(self, keys: pa.Array, at: int) -> pa.Array:
        """For each key whether a copy that was read `at` may still be true."""
        deleted = [key is not None and self.deleted.get(key, 0) >= at for key in keys.to_pylist()]
        alive = pc.invert(pa.array(deleted, pa.bool_()))
        if self.listed is not None and at <= self.listed_at:
            listed = pc.or_(pc.is_null(keys), pc.is_in(keys, value_set=self.listed))
            alive = pc.and_(alive, listed)
        return alive

    def read(self, landing: Landing, fetch: LandedFetch) -> Iterator[pa.RecordBatch]:
        """The rows of a fetch without the copies of records that are gone."""
        for batch in landing.read(fetch):
            yield batch.filter(self.alive(batch.column(KEY), fetch.fetched_at))


def read_gone(landing: Landing, table: str, fetches: Sequence[LandedFetch]) -> Gone | None:
    """What is known to be gone since the oldest of the fetches was read; None if nothing was found out since."""
    if not fetches:
        return None
    since = min(fetch.fetched_at for fetch in fetches)
    gone = Gone()
    for tombstones in landing.fetches(table, DELETED):
        if tombstones.fetched_at >= since:
            gone.deleted |= dict.fromkeys(read_keys(landing, tombstones), tombstones.fetched_at)
    for keys in landing.fetches(table, KEYS)[-1:]:
        if keys.fetched_at >= since:
            gone.listed, gone.listed_at = _keys_of(landing, keys), keys.fetched_at
    return gone if gone.deleted or gone.listed is not None else None


def _keys_of(landing: Landing, fetch: LandedFetch) -> pa.Array:
    columns = [batch.column(KEY).cast(pa.string()) for batch in landing.read(fetch, [KEY])]
    return pa.concat_arrays(columns) if columns else pa.array([], pa.string())


def read_keys(landing: Landing, fetch: LandedFetch) -> Iterator[str]:
    """The source's own keys of the landed rows, read as they are asked for."""
    return (key for batch in landing.read(fetch, [KEY]) for key in batch.column(KEY).to_pylist())
