"""Which assets does a project make, and which of them can run together?

A mapping gives the pair `legacy/<Table>` and `erp/<entity>`; mappings that read a table in the same way
share its legacy asset, and the entities of a unit are loaded together. Entities whose tables are cut in the
same way form a cut: what can be one run.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import dagster as dg

from legacy_sync.errors import MappingInvalid, Problem
from legacy_sync.mapping.loader import Project, dependencies_of
from legacy_sync.mapping.model import Mapping, Partitions, Source
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.orchestration.partitions import build_partitions, label_partitions

Way = tuple[tuple[str, str, str | None], Partitions]
"""A feed and how it is cut: what mappings share when they share an asset."""


@dataclass(frozen=True)
class Table:
    """One legacy asset and the mappings that read it."""

    key: dg.AssetKey
    readers: tuple[Mapping, ...]

    @property
    def mapping(self) -> Mapping:
        """Any reader: source and partitions are the same for all."""
        return self.readers[0]

    def is_read_by(self, mappings: Iterable[Mapping]) -> bool:
        """Whether any of them reads it."""
        entities = {m.entity for m in mappings}
        return any(m.entity in entities for m in self.readers)


@dataclass(frozen=True)
class Cut:
    """Entities that can share a run: `partitioned` is one of those with partitions, which all have the same."""

    label: str
    mappings: tuple[Mapping, ...]
    partitioned: Mapping | None


@dataclass(frozen=True)
class Layout:
    """All assets of a project by key and entity."""

    project: Project
    tables: tuple[Table, ...]
    dependencies: dict[str, tuple[str, ...]]
    _definitions: dict[Partitions, dg.PartitionsDefinition | None] = field(repr=False)

    def partitions_of(self, mapping: Mapping) -> dg.PartitionsDefinition | None:
        """The one partitions object all mappings with these partitions share."""
        return self._definitions[mapping.partitions]

    def are_cut_alike(self, one: Mapping, other: Mapping) -> bool:
        """Whether both have partitions of the same names."""
        return self.partitions_of(one) is not None and self.partitions_of(one) == self.partitions_of(other)

    def table_of(self, mapping: Mapping) -> Table:
        """The legacy asset a mapping reads."""
        return next(t for t in self.tables if mapping in t.readers)

    @property
    def units(self) -> list[list[Mapping]]:
        """What is loaded together, parents first: the units of the mappings, and most mappings alone."""
        found = {tuple(m.entity for m in unit): unit for unit in map(self.project.unit_of, self.project.ordered())}
        return list(found.values())

    def with_units(self, mappings: Iterable[Mapping]) -> list[Mapping]:
        """The mappings and all that are loaded together with them, every one once."""
        members = {m.entity: m for mapping in mappings for m in self.project.unit_of(mapping)}
        return list(members.values())

    def erp_keys_of(self, mappings: Iterable[Mapping]) -> list[dg.AssetKey]:
        """The ERP assets of the mappings and their units."""
        return [erp_key(m.entity) for m in self.with_units(mappings)]

    def keys_of(self, mappings: Iterable[Mapping]) -> list[dg.AssetKey]:
        """Both assets of each mapping and of its unit, every key once."""
        pairs = [key for m in self.with_units(mappings) for key in (self.table_of(m).key, erp_key(m.entity))]
        return list(dict.fromkeys(pairs))

    def cuts(self, group: str | None = None) -> list[Cut]:
        """The mappings (of a group) by their partitions, parents first; unpartitioned ones go with the most others."""
        chosen = [m for m in self.project.ordered() if group in (None, m.group)]
        kinds: dict[dg.PartitionsDefinition | None, list[Mapping]] = {}
        for mapping in chosen:
            kinds.setdefault(self.partitions_of(mapping), []).append(mapping)
        if None in kinds and len(kinds) > 1:
            loose = kinds.pop(None)
            largest = max(kinds, key=lambda kind: len(kinds[kind]))
            kinds[largest] = [m for m in chosen if m in loose or m in kinds[largest]]
        marked = [self._partitioned(members) for members in kinds.values()]
        labels = _distinct([label_partitions(m.partitions) if m else "whole" for m in marked])
        return [
            Cut(label, tuple(members), mapping)
            for label, members, mapping in zip(labels, kinds.values(), marked, strict=True)
        ]

    def part_of(self, cut: Cut, mappings: Iterable[Mapping]) -> Cut:
        """Only these mappings of a cut, and their units."""
        members = tuple(self.with_units(mappings))
        return Cut(cut.label, members, self._partitioned(members))

    def _partitioned(self, mappings: Iterable[Mapping]) -> Mapping | None:
        return next((m for m in mappings if self.partitions_of(m) is not None), None)

    @property
    def watched_sources(self) -> list[str]:
        """The sources that a sensor may ask every tick; the others are read when their schedule says so."""
        used = dict.fromkeys(table.mapping.source.server for table in self.tables)
        return sorted((n for n in used if self.project.sources[n].options.watch), key=lambda n: (n != FOUR_D, n))

    @property
    def groups(self) -> list[str]:
        """The names of all groups."""
        return list(dict.fromkeys(m.group for m in self.project.mappings.values()))


def pool_of(source: Source) -> str:
    """The pool that limits how many runs read a source at once; each source has one of its own."""
    return "legacy_api" if source.server == FOUR_D else f"source_{source.server.replace('-', '_')}"


def erp_key(entity: str) -> dg.AssetKey:
    """The asset of an entity; Dagster's names have no dots."""
    return dg.AssetKey(["erp", entity.replace(".", "_")])


def build_layout(project: Project) -> Layout:
    """The assets of all mappings; raises MappingInvalid when two would have the same key."""
    readers: dict[Way, list[Mapping]] = {}
    for mapping in project.mappings.values():
        readers.setdefault((mapping.source.feed, mapping.partitions), []).append(mapping)
    definitions = {m.partitions: build_partitions(m) for m in project.mappings.values()}
    tables = tuple(Table(_legacy_key(members[0], readers), tuple(members)) for members in readers.values())
    _check_keys([t.key for t in tables], [t.mapping for t in tables])
    _check_keys([erp_key(e) for e in project.mappings], list(project.mappings.values()))
    return Layout(project, tables, dependencies_of(project.mappings), definitions)


def _legacy_key(mapping: Mapping, readers: Iterable[Way]) -> dg.AssetKey:
    """`legacy/<Table>`; a table that is read in several ways says behind its name in which."""
    table = mapping.source.table
    ways = [way for way in readers if way[0][1] == table]
    first = ways[0] == (mapping.source.feed, mapping.partitions)
    return dg.AssetKey(["legacy", table if first else f"{table}_{label_partitions(mapping.partitions)}"])


def _check_keys(keys: list[dg.AssetKey], mappings: list[Mapping]) -> None:
    owners: dict[dg.AssetKey, Mapping] = {}
    for key, mapping in zip(keys, mappings, strict=True):
        other = owners.setdefault(key, mapping)
        if other is not mapping:
            what = f'{other.entity} and {mapping.entity} would both be the asset "{key.to_user_string()}"'
            next_step = "rename one of the entities, or give both the same `source` and `partitions`"
            raise MappingInvalid([Problem(what, f"mappings {other.entity} and {mapping.entity}", next_step)])


def _distinct(labels: list[str]) -> list[str]:
    return [label if labels.index(label) == n else f"{label}_{n + 1}" for n, label in enumerate(labels)]
