"""Which runs does a tick ask for? One for all that changed and is cut alike; what is running is left out."""

from collections.abc import Iterable

import dagster as dg

from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.layout import Cut
from legacy_sync.orchestration.looks import Change, Tick
from legacy_sync.orchestration.partitions import list_partitions, newest_partition
from legacy_sync.orchestration.requests import checks_of, in_blocks, tags_of
from legacy_sync.orchestration.watch import BATCH_TAG, name_batch


def requests_of(tick: Tick, started_by: str) -> list[dg.RunRequest]:
    """The runs of a tick; no asset is in two of them, or in one that is under way."""
    tick.changes += _renewals(tick)
    requests = []
    for cut in tick.layout.cuts():
        mine = [c for c in tick.changes if c.mapping in cut.mappings]
        for changes in ([c for c in mine if c.whole], [c for c in mine if not c.whole]):
            request = _request(tick, cut, _without_busy(tick, changes), started_by)
            if request:
                requests.append(request)
                tick.busy |= set(request.asset_selection or ())
    return requests


def renewal_name(entity: str) -> str:
    """What the memory calls an entity whose mapping changed."""
    return f"mapping {entity}"


def _renewals(tick: Tick) -> list[Change]:
    """Entities of which a part was loaded when the mapping said something else: what is landed is loaded again."""
    found = []
    for mapping in tick.layout.project.ordered():
        if not tick.ledger.is_stale(mapping) or not _is_mine(tick, mapping):
            continue
        name, seen = renewal_name(mapping.entity), mapping.version
        state = tick.memory.of(name)
        if state.done_seen == seen:  # it was tried; what is stale still is not landed any more
            continue
        if state.batch or not state.may_try(seen, tick.now):
            tick.notes.append(f"{name}: it changed; " + ("a run is under way" if state.batch else "next try later"))
            continue
        partitions, whole = tuple(list_partitions(mapping)), tick.layout.partitions_of(mapping) is not None
        found.append(Change(name, (mapping,), partitions, seen, seen, fetches=False, whole=whole))
    return found


def _is_mine(tick: Tick, mapping: Mapping) -> bool:
    """Each entity belongs to one sensor: that of its source, or the first one if its source has none."""
    watched = tick.layout.watched_sources
    home = mapping.source.server if mapping.source.server in watched else watched[0]
    return home == tick.source


def _without_busy(tick: Tick, changes: Iterable[Change]) -> list[Change]:
    """The changes that nothing is in the way of."""
    free = []
    for change in changes:
        busy = tick.busy.intersection(change.keys(tick.layout))
        if busy:
            tick.notes.append(f"still running: {', '.join(sorted(key.to_user_string() for key in busy))}")
        else:
            free.append(change)
    return free


def _request(tick: Tick, cut: Cut, changes: list[Change], started_by: str) -> dg.RunRequest | None:
    """One run for these changes of a cut, children with waiting rows included."""
    loaded = tick.layout.with_units(m for c in changes for m in c.mappings)
    children = _children_to_replay(tick, cut, loaded)
    changed = [key for change in changes for key in change.keys(tick.layout)]
    keys = [*dict.fromkeys([*changed, *tick.layout.erp_keys_of(children)])]
    if not keys:
        return None
    mapping = cut.partitioned
    newest = newest_partition(mapping or cut.mappings[0])
    if mapping is None:
        return _asked(tick, cut, changes, children, keys, [[newest]], started_by)
    alike = [c for c in changes if tick.layout.are_cut_alike(c.mapping, mapping)]
    if any(c.whole for c in alike):
        return _asked(tick, cut, changes, children, keys, [list_partitions(mapping)], started_by)
    blocks = in_blocks(mapping, [p for c in alike for p in c.partitions] or [newest])
    return _asked(tick, cut, changes, children, keys, blocks, started_by)


def _asked(
    tick: Tick,
    cut: Cut,
    changes: list[Change],
    children: list[Mapping],
    keys: list[dg.AssetKey],
    blocks: list[list[str]],
    started_by: str,
) -> dg.RunRequest:
    """The request for the oldest block; the content of the changes and the number of the try make its key."""
    content = [(c.name, c.seen, c.then, c.since, tick.memory.of(c.name).attempt) for c in changes]
    replays = {m.entity: _newest_parent_run(tick, m) for m in children}
    batch = name_batch(tick.memory.began, cut.label, blocks[0], content, replays)
    for change in changes:
        state = tick.memory.of(change.name)
        state.ask(batch, change.then if len(blocks) == 1 else None, change.since, change.seen, tick.now)
        state.due_at = tick.now if change.is_due else state.due_at
    tick.memory.replays.update(replays)
    attempts = "-".join(str(attempt + 1) for *_, attempt in content) or "replay"
    return dg.RunRequest(
        run_key=f"{cut.label}:{batch}#a{attempts}",
        asset_selection=keys,
        asset_check_keys=checks_of(tick.layout, keys),
        tags={**tags_of(cut, blocks[0], started_by), BATCH_TAG: batch},
    )


def _children_to_replay(tick: Tick, cut: Cut, loaded: Iterable[Mapping]) -> list[Mapping]:
    """Entities of the cut whose parked rows wait for a parent that is loaded now, or has been since.

    Those that changed themselves try their waiting rows in a run of their own.
    """
    changed = {m.entity for m in tick.layout.with_units(m for c in tick.changes for m in c.mappings)}
    changing = {m.entity for m in loaded}
    found = []
    for mapping in cut.mappings:
        if mapping.entity not in tick.ledger.waiting or mapping.entity in changed or _is_busy(tick, mapping):
            continue
        in_this_run = changing & set(tick.layout.dependencies[mapping.entity])
        if in_this_run or (_has_new_parent(tick, mapping) and _is_mine(tick, mapping)):
            found.append(mapping)
    return found


def _has_new_parent(tick: Tick, mapping: Mapping) -> bool:
    """Whether a parent got rows after the last run of the entity began, and that was not answered yet."""
    began = tick.ledger.state_of(mapping.entity).get("started_at")
    times = [tick.ledger.state_of(p).get("brought_at") for p in tick.layout.dependencies[mapping.entity]]
    is_later = any(time and (began is None or time > began) for time in times)
    return is_later and _newest_parent_run(tick, mapping) > tick.memory.replays.get(mapping.entity, 0)


def _is_busy(tick: Tick, mapping: Mapping) -> bool:
    return bool(tick.busy.intersection(tick.layout.erp_keys_of([mapping])))


def _newest_parent_run(tick: Tick, mapping: Mapping) -> int:
    """The last run of a parent that brought or changed rows; 0 if there is none."""
    parents = tick.layout.dependencies[mapping.entity]
    return max((tick.ledger.state_of(parent).get("brought_run") or 0 for parent in parents), default=0)
