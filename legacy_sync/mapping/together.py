"""Do the mappings of a project fit each other? What can be said only when all of them are known."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Dict
from typing import NamedTuple

from legacy_sync.mapping.links import Finding
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.suggest import did_you_mean, name_all


class Contradiction(NamedTuple):
    """Something that cannot be, in the mapping of an entity."""

    entity: str
    finding: Finding


def check_together(mappings: Dict[str, Mapping], *, complete: bool) -> Iterator[Contradiction]:
    """Everything that two or more mappings say differently, though they must agree.

    Not `complete`: some could not be read, so what seems to be missing may stand in them.
    """
    for entity, mapping in mappings.items():
        missing = _check_keys(mapping, mappings) if complete else ()
        for finding in (*missing, *_check_derived(mapping, mappings)):
            yield Contradiction(entity, finding)
    yield from _check_feeds(mappings)
    yield from _check_units(mappings)


def _check_feeds(mappings: Dict[str, Mapping]) -> Iterator[Contradiction]:
    """Mappings that read one legacy table share its landed rows, and so must cut it the same way."""
    first: dict[tuple[str, str], Mapping] = {}
    for entity, mapping in mappings.items():
        other = first.setdefault((mapping.source.server, mapping.source.table), mapping)
        if (other.source.feed, other.partitions) != (mapping.source.feed, mapping.partitions):
            what = f'{entity} and {other.entity} read "{mapping.source.table}" in different ways'
            word = "partitions" if other.source.feed == mapping.source.feed else "source"
            next_step = f"make {word} the same in both files: the rows are fetched once for both"
            yield Contradiction(entity, Finding((word,), what, next_step))
        elif other.strategy != mapping.strategy:
            what = (
                f'{entity} reads "{mapping.source.table}" by the strategy "{mapping.strategy}",'
                f' {other.entity} by "{other.strategy}"'
            )
            next_step = "make change_detection the same in both files: the rows are fetched once for both"
            yield Contradiction(entity, Finding(("change_detection",), what, next_step))


def _check_units(mappings: Dict[str, Mapping]) -> Iterator[Contradiction]:
    """What is loaded in one transaction is cut at the same places."""
    first: dict[str, Mapping] = {}
    for entity, mapping in mappings.items():
        if mapping.unit is None:
            continue
        other = first.setdefault(mapping.unit.name, mapping)
        if other.partitions != mapping.partitions:
            what = f'{entity} and {other.entity} are one unit "{mapping.unit.name}", but are cut in different ways'
            next_step = "make partitions the same in both files: a slice is loaded whole"
            yield Contradiction(entity, Finding(("partitions",), what, next_step))


def _check_keys(mapping: Mapping, mappings: Dict[str, Mapping]) -> Iterator[Finding]:
    """A reference by a key needs a mapping that remembers that key."""
    for name, field in mapping.fields.items():
        for n, match in enumerate(field.reference.match if field.reference else ()):
            if match.key is None or field.reference is None:
                continue
            to = field.reference.to
            loading = [m for m in mappings.values() if m.target.table == to]
            known = list(dict.fromkeys(key for m in loading for key in _keys_of(m)))
            if match.key in known or not loading:  # a table loaded by other means, or not yet: its rows will wait
                continue
            what = f'no mapping of "{to}" remembers the key "{match.key}"'
            add = f'add "other_keys: {match.key}" to the source of {name_all(m.entity for m in loading)}'
            otherwise = f"{add}, or choose one of {name_all(known)}" if known else add
            path = ("fields", name, "reference", "match", n, "key")
            yield Finding(path, what, did_you_mean(match.key, known, otherwise))


def _keys_of(mapping: Mapping) -> tuple[str, ...]:
    """The attributes by which a record of this mapping can be found: its key, if that is one, and the others."""
    own = mapping.source.key if len(mapping.source.key) == 1 else ()
    return (*own, *mapping.source.other_keys)


def _check_derived(mapping: Mapping, mappings: Dict[str, Mapping]) -> Iterator[Finding]:
    """A column that follows from the children has no second origin."""
    for n, derive in enumerate(mapping.derive):
        reference = mapping.fields[derive.through].reference if derive.through in mapping.fields else None
        for other in mappings.values():
            if reference and other.target.table == reference.to and derive.into in other.fields:
                what = f'"{derive.into}" of "{reference.to}" follows from its children, but {other.entity} maps it'
                next_step = 'remove it from "fields" there and add it to "owned_by_erp", or remove "derive"'
                yield Finding(("derive", n, "into"), what, next_step)
