"""What happens to rows whose record is gone? Collects the evidence that is landed, and applies the mapping's policy.

Evidence is a fetch of the whole table, a list of all its keys, tombstones, or a record that the mapping does not mean
any more. A fetch of the whole table makes everything older worthless.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from legacy_sync.erp import sweep
from legacy_sync.erp.shape import Shape
from legacy_sync.ledger import row_conflicts, runs
from legacy_sync.sources.landing import FULL, LandedFetch
from legacy_sync.sync.evidence import read_keys
from legacy_sync.sync.guards import too_many_missing
from legacy_sync.sync.load import Loader
from legacy_sync.sync.windows import DELETED, KEYS, WHOLE

GONE = "records that are gone from the legacy table"


def settle_gone(loader: Loader, whole: Sequence[LandedFetch]) -> int:
    """Deals with the records that are gone; `whole` are the fetches of the whole table that this run loaded.

    They are evidence only if the source vouches for them. Returns how many records are gone. Raises GuardTripped when
    more are missing than the mapping believes possible; then nothing is marked.
    """
    found = loader.session.whole(loader.where("records that are gone"), partial(_settle, loader, whole))
    if found:
        loader.report.warn_gone(GONE, found)
    return found


def _settle(loader: Loader, whole: Sequence[LandedFetch]) -> int:
    found, evidence = 0, whole if vouches(whole) else []
    if loader.mapping.deletes.policy != "ignore":
        found += _settle_unmeant(loader)
        found += _settle_whole(loader, evidence) if evidence else 0
        found += _settle_landed(loader, _read_at(evidence) if evidence else 0)
    _settle_edited(loader)
    if whole:
        for mark in (WHOLE, KEYS) if evidence else (WHOLE,):
            runs.set_mark(loader.connection, loader.entity_id, mark, _as_time(_read_at(whole)), loader.run_id)
    return found


def vouches(whole: Sequence[LandedFetch]) -> bool:
    """Whether these are all rows of the table: only then the absence of a record is evidence that it is gone."""
    return bool(whole) and all(fetch.complete for fetch in whole if fetch.mode == FULL)


def _settle_whole(loader: Loader, whole: Sequence[LandedFetch]) -> int:
    at = max(f.fetched_at for f in whole)
    keys = (key for fetch in whole for batch in loader.landing.read(fetch) for key in loader.transform.keys(batch))
    return _apply(loader, sweep.find_unlisted(loader.connection, loader.entity_id, keys, at), at)


def _settle_unmeant(loader: Loader) -> int:
    if not loader.unmeant:
        return 0
    keys = loader.unmeant.items()
    found = sweep.find_unmeant(loader.connection, loader.entity_id, keys)
    return _apply(loader, found, max(loader.unmeant.values()), how="")


def _settle_landed(loader: Loader, since: int) -> int:
    """Lists of keys (of these only the newest) and tombstones that were not taken in yet and are not older."""
    found = 0
    for partition in (KEYS, DELETED):
        new = _not_taken_in(loader, partition)
        for fetch in [f for f in (new[-1:] if partition == KEYS else new) if f.fetched_at > since]:
            at = fetch.fetched_at
            find = sweep.find_unlisted if partition == KEYS else sweep.find_deleted
            missing = find(loader.connection, loader.entity_id, read_keys(loader.landing, fetch), at)
            found += _apply(loader, missing, at, how="")
            if partition == KEYS:
                runs.set_mark(loader.connection, loader.entity_id, KEYS, _as_time(at), loader.run_id)
        ids = [f.fetch_id for f in new]
        runs.remember_fetches(loader.connection, loader.entity_id, partition, ids, loader.run_id)
    return found


def _not_taken_in(loader: Loader, partition: str) -> list[LandedFetch]:
    landed = loader.landing.fetches(loader.mapping.source.table, partition)
    loaded = runs.loaded_fetches(loader.connection, loader.entity_id, partition) if landed else set()
    return [fetch for fetch in landed if fetch.fetch_id not in loaded]


def _apply(loader: Loader, found: tuple[int, int], at: int, *, how: str = "--full ") -> int:
    """What the mapping wants done with the rows in `ls_missing`."""
    missing, bound = found
    deletes, connection = loader.mapping.deletes, loader.connection
    if missing > max(1, int(bound * deletes.max_share)) and not loader.accepts:
        raise too_many_missing(loader.mapping, missing, bound, sweep.sample_missing(connection, 3), how)
    if missing and deletes.policy == "set":
        _mark(loader)
    sweep.note_missing(connection, loader.entity_id, loader.run_id, at)
    if missing:
        row_conflicts.close_gone(connection, loader.entity_id, loader.run_id)
        runs.note_newest(connection, loader.entity_id, at)
    return missing


def settle_chosen(loader: Loader) -> None:
    """Deals with the rows whose record is gone, which people edited, and of which somebody decided since."""
    loader.session.whole(loader.where(GONE), partial(_settle_edited, loader))


def _settle_edited(loader: Loader) -> None:
    """What the policy leaves to later: rows to be deleted once nothing stands in the way, and conflicts."""
    connection, policy = loader.connection, loader.mapping.deletes.policy
    if policy == "delete" and sweep.has_missing(connection, loader.entity_id):
        _delete(loader)
    elif row_conflicts.has_open_gone(connection, loader.entity_id):
        sweep.find_deleted(connection, loader.entity_id, (), 0)  # no record more: only those that wait
        if policy == "set":
            _mark(loader)
        else:
            row_conflicts.close_unmeant(connection, loader.entity_id, loader.run_id)


def _mark(loader: Loader) -> None:
    shape = loader.bound.shape(loader.connection)
    marked, waiting = sweep.mark_missing_rows(loader.connection, shape, loader.run_id)
    loader.report.counts.deleted += marked
    _note_edited(loader, shape, waiting)


def _delete(loader: Loader) -> None:
    shape = loader.bound.shape(loader.connection)
    deleted, waiting, referred = sweep.delete_missing_rows(loader.connection, shape, loader.run_id)
    loader.report.counts.deleted += deleted
    if referred:
        loader.report.warn_gone("gone from the legacy table, kept while other ERP rows refer to them", referred)
    _note_edited(loader, shape, waiting)


def _note_edited(loader: Loader, shape: Shape, waiting: int) -> None:
    loader.report.counts.conflicts += row_conflicts.record_edited(loader.connection, shape, loader.run_id)
    if waiting:
        loader.report.warn_gone("gone from the legacy table, kept because people edited the row in the ERP", waiting)


def _read_at(whole: Sequence[LandedFetch]) -> int:
    """When all rows were read, in microseconds since 1970; changes were added to them later."""
    return max(f.fetched_at for f in whole if f.mode == FULL)


def _as_time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="microseconds")
