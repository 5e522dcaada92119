"""Who may begin now? Parents first, and side by side only what does not touch the same rows; pure.

What runs together is a unit: mostly one entity alone. Two units may run at the same time if neither waits for the
other, they read different legacy tables (a table is fetched once for all who read it) and write different ERP tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from legacy_sync.mapping.loader import Project, dependencies_of
from legacy_sync.mapping.model import Mapping

Unit = tuple[Mapping, ...]


class Turns:
    """The units that wait, and those that run; one that is taken runs until it is given back with `end`."""

    def __init__(self, project: Project, mappings: Iterable[Mapping]) -> None:
        self._mappings = list(project.mappings.values())
        self._running: list[Unit] = []
        units = units_of(project, mappings)
        chosen = {m.entity for unit in units for m in unit}
        self._before = {name: before & chosen for name, before in _ancestors(project).items()}
        self._waiting = sorted(units, key=self._count_behind, reverse=True)

    def __len__(self) -> int:
        return len(self._waiting)

    def parents_of(self, unit: Unit) -> set[str]:
        """The chosen entities that come before any of the unit."""
        own = {m.entity for m in unit}
        return {name for m in unit for name in self._before[m.entity]} - own

    def take(self, settled: Collection[str]) -> Unit | None:
        """The first unit that may begin, given the entities that are `settled`; None if all have to wait."""
        for unit in self._waiting:
            if self.parents_of(unit) <= set(settled) and self._is_free(unit):
                break
        else:
            if self._running or not self._waiting:
                return None
            unit = self._waiting[0]  # units that wait for each other: somebody has to begin
        self._waiting.remove(unit)
        self._running.append(unit)
        return unit

    def end(self, unit: Unit) -> None:
        """The unit runs no longer, however that ended."""
        self._running.remove(unit)

    def _count_behind(self, unit: Unit) -> int:
        """How many entities wait for the unit: those with many behind them begin first."""
        return sum(any(m.entity in before for m in unit) for before in self._before.values())

    def _is_free(self, unit: Unit) -> bool:
        """Whether nothing that runs touches what the unit touches."""
        mine = touched_by(unit, self._mappings)
        return all(mine.isdisjoint(touched_by(running, self._mappings)) for running in self._running)


def units_of(project: Project, mappings: Iterable[Mapping]) -> list[Unit]:
    """What is loaded together, in order; the other members of a unit come along although they were not named."""
    units = {tuple(m.entity for m in unit): tuple(unit) for unit in map(project.unit_of, mappings)}
    return list(units.values())


def touched_by(unit: Unit, mappings: Iterable[Mapping]) -> set[str]:
    """The ERP tables a unit may write to, and the legacy tables it reads."""
    written = {name for m in unit for name in _written_by(m, mappings)}
    return written | {f"{m.source.server}/{m.source.table}" for m in unit}


def _written_by(mapping: Mapping, mappings: Iterable[Mapping]) -> set[str]:
    """Its own table, those it makes or fills rows in, and those with texts made of its rows."""
    references = {name: field.reference for name, field in mapping.fields.items() if field.reference}
    created = {r.to for r in references.values() if r.create}
    through = [*(word.through for word in mapping.backfill), *(word.through for word in mapping.derive)]
    filled = {references[name].to for name in through if name in references}
    own = mapping.target.table
    followers = {m.target.table for m in mappings if any(own in tables for tables in m.composed.values())}
    return {own} | created | filled | followers


def _ancestors(project: Project) -> dict[str, set[str]]:
    """For each entity all that come before it, however far."""
    direct = dependencies_of(project.mappings)
    found: dict[str, set[str]] = {}
    for mapping in project.ordered():
        name = mapping.entity
        found[name] = set(direct[name]).union(*(found.get(parent, set()) for parent in direct[name]))
    return found
