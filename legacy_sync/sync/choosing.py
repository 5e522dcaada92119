"""How does a person's choice reach the ERP? The record is loaded again, and the plan finds the choice in the ledger.

Whole rows or nothing: a choice that the ERP refuses is taken back with the reason, and its conflict stays open.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from legacy_sync.ledger import choices, units
from legacy_sync.ledger.quarantine import Replay
from legacy_sync.sync.load import Loader, Slice
from legacy_sync.sync.loading import batches_of, open_partition, replay

Key = tuple[int, str]
"""entity and legacy key"""


class _Refused(Exception):
    """Some records could not be loaded with their choices, or only a part of their document could."""

    def __init__(self, why: dict[Key, str], incomplete: set[Key]) -> None:
        super().__init__(f"{len(why)} refused, {len(incomplete)} incomplete")
        self.why = why
        self.incomplete = incomplete


def apply_choices(loaders: Sequence[Loader]) -> None:
    """Loads the records whose conflicts people decided; what is loaded after them is newer.

    `loaders` are one entity or all of a unit, which commit together. A record whose document waits in the quarantine
    keeps its choice until that can be loaded.
    """
    left_out: set[Key] = set()
    session, where = loaders[0].session, loaders[0].where("conflicts that were decided")
    while any(chosen := session.ask(where, partial(_find_chosen, loaders, left_out))):
        states = [loader.state() for loader in loaders]
        try:
            session.whole(where, partial(_load, loaders, chosen))
            return
        except _Refused as found:
            for loader, state in zip(loaders, states, strict=True):
                loader.go_back(state)
            session.ask(where, partial(_refuse, loaders, found.why))
            left_out |= found.incomplete | found.why.keys()


def _find_chosen(loaders: Sequence[Loader], left_out: set[Key]) -> list[list[Replay]]:
    return [
        [
            record
            for record in choices.find_chosen(loader.connection, loader.entity_id)
            if (loader.entity_id, record.legacy_key) not in left_out
        ]
        for loader in loaders
    ]


def _refuse(loaders: Sequence[Loader], why: dict[Key, str]) -> None:
    for loader in loaders:
        own = {key: text for (entity_id, key), text in why.items() if entity_id == loader.entity_id}
        choices.refuse_choices(loader.connection, loader.entity_id, own)


def _load(loaders: Sequence[Loader], chosen: Sequence[list[Replay]]) -> None:
    """All of it, or _Refused."""
    connection = loaders[0].connection
    units.begin_units(connection)
    why: dict[Key, str] = {}
    for loader, records in zip(loaders, chosen, strict=True):
        if records:
            loader.load(Slice(open_partition(loader.mapping), [], batches_of(records)))
        for key in {record.legacy_key for record in records} & loader.waiting.keys():
            why[loader.entity_id, key] = loader.waiting[key].message
    incomplete: set[Key] = set()
    keys = {loader.entity_id: loader.mapping.unit.key for loader in loaders if loader.mapping.unit}
    for loader in loaders if keys else ():
        replay(loader, unit=keys)  # the rest of a document may have waited for just this row
    if keys and (documents := units.find_incomplete(connection, keys)):
        for loader, records in zip(loaders, chosen, strict=True):
            found = [r for r in records if str(r.row.get(keys[loader.entity_id])).strip() in documents]
            incomplete |= {(loader.entity_id, record.legacy_key) for record in found}
    if why or incomplete:
        raise _Refused(why, incomplete - why.keys())
