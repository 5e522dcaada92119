"""How does the landing stay small? Of many fetches of changes one is made, with the newest copy of each record.

Otherwise the ten-thousandth run would look at ten thousand fetches. A fetch is only replaced when every mapping that
reads the table has taken it in; the ledger knows the new one before the old ones go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import takewhile

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.errors import EntityBusy
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.base import KEY
from legacy_sync.sources.landing import INCREMENTAL, LandedFetch, Landing, since_last_full
from legacy_sync.sync.evidence import Gone, read_gone, read_keys
from legacy_sync.sync.fetch import readers_of
from legacy_sync.sync.load import Loader
from legacy_sync.sync.windows import BESIDE_ROWS, DELETED, KEYS
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

AT_MOST = 50
"""fetches of changes behind the last full one, before they are made one"""


def tidy(workspace: Workspace, loader: Loader, partitions: Iterable[str]) -> None:
    """Removes what is older than the kept full fetches, and makes one fetch of many; `partitions` were just loaded.

    Where another run is loading from the same table, that is left to a later run.
    """
    landing, table = loader.landing, loader.mapping.source.table
    for partition in (*partitions, KEYS):
        landing.prune(table, partition, workspace.project.landing_keep)
    rows = [p for p in partitions if p not in BESIDE_ROWS]
    crowded = {p: changes for p in rows if len(changes := changes_of(landing, table, p)) > AT_MOST}
    tombstones = landing.fetches(table, DELETED)
    if not crowded and len(tombstones) <= AT_MOST:
        return
    with ExitStack() as stack:
        try:
            readers = _lock_readers(workspace, loader, stack)
        except EntityBusy:
            return
        for partition, changes in crowded.items():
            old = _taken_in(loader, readers, partition, changes)
            if len(old) > AT_MOST:
                _replace(loader, readers, old, _merge_changes(landing, old, read_gone(landing, table, old) or Gone()))
        asking = {reader: mapping for reader, mapping in readers.items() if mapping.deletes.policy != "ignore"}
        old = _taken_in(loader, asking, DELETED, tombstones)
        if len(old) > AT_MOST:
            _replace(loader, asking, old, _merge_tombstones(landing, table, old))


def changes_of(landing: Landing, table: str, partition: str) -> list[LandedFetch]:
    """The fetches of changes behind the newest full one."""
    return [fetch for fetch in since_last_full(landing.fetches(table, partition)) if fetch.mode == INCREMENTAL]


def _merge_changes(landing: Landing, changes: Sequence[LandedFetch], gone: Gone) -> LandedFetch:
    """One fetch with the newest copy of each record, as old as the newest of them; records that are gone left out."""
    newest = changes[-1]
    seen: set[str | None] = set()
    rows = 0
    with landing.open_fetch(newest.table, newest.partition, same_time_as=newest.fetch_id) as writer:
        for fetch in reversed(changes):
            at, mine = fetch.fetched_at, set()
            for batch in landing.read(fetch):
                keys = batch.column(KEY)
                is_newest = pa.array([key is None or key not in seen for key in keys.to_pylist()], pa.bool_())
                mine |= {key for key in keys.to_pylist() if key is not None}
                kept = batch.filter(pc.and_(is_newest, gone.alive(keys, at)))
                writer.write(kept)
                rows += kept.num_rows
            seen |= mine
        return writer.commit(
            mode=INCREMENTAL,
            server_time=newest.server_time,
            rows=rows,
            complete=False,
            table_fingerprint=newest.table_fingerprint,
            stamp=newest.stamp,
        )


def _merge_tombstones(landing: Landing, table: str, tombstones: Sequence[LandedFetch]) -> LandedFetch:
    """One fetch with all tombstones but those of records that came back."""
    kept: dict[str, tuple[int, pa.RecordBatch]] = {}
    for fetch in tombstones:
        for batch in landing.read(fetch):
            kept |= {k: (fetch.fetched_at, batch.slice(n, 1)) for n, k in enumerate(batch.column(KEY).to_pylist())}
    for partition in (p for p in landing.partitions(table) if p not in BESIDE_ROWS):
        for fetch in landing.fetches(table, partition):
            at = fetch.fetched_at
            if kept and at > min(deleted for deleted, _ in kept.values()):
                for key in kept.keys() & set(read_keys(landing, fetch)):
                    if kept[key][0] < at:
                        del kept[key]
    newest = tombstones[-1]
    with landing.open_fetch(table, DELETED, same_time_as=newest.fetch_id) as writer:
        for _, batch in kept.values():
            writer.write(batch)
        return writer.commit(mode=INCREMENTAL, server_time=newest.server_time, rows=len(kept), complete=False)


def _lock_readers(workspace: Workspace, loader: Loader, stack: ExitStack) -> dict[int, Mapping]:
    """Nobody may load from the table meanwhile; returns the entities that read it."""
    readers = {loader.entity_id: loader.mapping}
    for mapping in readers_of(workspace, loader.mapping):
        entity_id = runs.get_entity_id(loader.connection, mapping.entity)
        if entity_id != loader.entity_id:
            stack.enter_context(runs.entity_lock(loader.connection, entity_id, mapping.entity))
            readers[entity_id] = mapping
    return readers


def _taken_in(
    loader: Loader, readers: Iterable[int], partition: str, fetches: Sequence[LandedFetch]
) -> list[LandedFetch]:
    """Those at the beginning that every reader has taken in."""
    loaded = [runs.loaded_fetches(loader.connection, reader, partition) for reader in readers]
    return list(takewhile(lambda fetch: all(fetch.fetch_id in ids for ids in loaded), fetches))


def _replace(loader: Loader, readers: Iterable[int], old: Sequence[LandedFetch], new: LandedFetch) -> None:
    ids = [fetch.fetch_id for fetch in old]
    with loader.connection.transaction():
        for reader in readers:
            runs.replace_fetches(loader.connection, reader, new.partition, ids, new.fetch_id)
    loader.landing.remove(old)
    logger.info("legacy/%s: %s fetches of partition %s are one now", new.table, len(ids), new.partition)
