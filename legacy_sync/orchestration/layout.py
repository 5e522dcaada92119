"""Which assets does a project make, and which of them can run together?

A mapping gives the pair `legacy/<Table>` and `erp/<entity>`; mappings that read a table in the same way
share its legacy asset. Entities with the same partitions form a unit: what can be one run.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import dagster as dg

from legacy_sync.errors import MappingInvalid, Problem
from legacy_sync.mapping.loader import Project, dependencies_of
from legacy_sync.mapping.model import Mapping, NoPartitions, Partitions
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
class Unit:
    """Entities that can share a run; at most one way of partitioning is among them."""

    label: str
    mappings: tuple[Mapping, ...]

    @property
    def partitioned(self) -> Mapping | None:
        """A mapping with the unit's partitions, None if nothing in it is partitioned."""
        return next((m for m in self.mappings if not isinstance(m.partitions, NoPartitions)), None)


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

    def table_of(self, mapping: Mapping) -> Table:
        """The legacy asset a mapping reads."""
        return next(t for t in self.tables if mapping in t.readers)

    def keys_of(self, mappings: Iterable[Mapping]) -> list[dg.AssetKey]:
        """Both assets of each mapping, every key once."""
        pairs = [key for m in mappings for key in (self.table_of(m).key, erp_key(m.entity))]
        return list(dict.fromkeys(pairs))

    def units(self, group: str | None = None) -> list[Unit]:
        """The mappings (of a group) by their partitions; unpartitioned ones join where there is one other kind."""
        chosen = [m for m in self.project.ordered() if group in (None, m.group)]
        kinds: dict[Partitions, list[Mapping]] = {}
        for mapping in chosen:
            kinds.setdefault(mapping.partitions, []).append(mapping)
        if len(kinds) == 2 and NoPartitions() in kinds:
            kinds = {next(k for k in kinds if k != NoPartitions()): chosen}
        labels = _distinct([label_partitions(kind) for kind in kinds])
        return [Unit(label, tuple(members)) for label, members in zip(labels, kinds.values(), strict=True)]

    @property
    def groups(self) -> list[str]:
        """The names of all groups."""
        return list(dict.fromkeys(m.group for m in self.project.mappings.values()))


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
