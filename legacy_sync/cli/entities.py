"""How are several entities run so that one failure stops only those that build on it?"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from legacy_sync.cli.shell import ABORTED, BAD_USAGE, PARKED, describe, exit_code
from legacy_sync.errors import LegacySyncError, SchemaDrift
from legacy_sync.mapping.loader import Project, dependencies_of
from legacy_sync.mapping.model import Mapping, WindowPartitions
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.windows import list_windows, select_windows, today_of
from legacy_sync.sync.workspace import Workspace, preflight


@dataclass
class Result:
    """What became of one entity: a report, an error, or neither because its parent `waits_for` failed."""

    entity: str
    report: RunReport | None = None
    error: LegacySyncError | None = None
    waits_for: str | None = None

    @property
    def outcome(self) -> str:
        """One word for tables."""
        if self.report:
            return self.report.outcome.replace("_", " ")
        return "failed" if self.error else "skipped"

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        if self.report:
            return self.report.to_json()
        error = describe(self.error) if self.error else None
        return {"entity": self.entity, "outcome": self.outcome, "error": error, "waits_for": self.waits_for}


class Journal:
    """The results so far, and who may still begin."""

    def __init__(self, project: Project, drifted: dict[str, SchemaDrift]) -> None:
        self._before = dependencies_of(project.mappings)
        self._drifted = drifted
        self.results: dict[str, Result] = {}

    def may_begin(self, mapping: Mapping) -> bool:
        """False, with a result, for an entity that has drifted or whose parent failed."""
        name = mapping.entity
        if name in self._drifted:
            self.results[name] = Result(name, error=self._drifted[name])
            return False
        known = [self.results[parent] for parent in self._before[name] if parent in self.results]
        failed = next((parent.entity for parent in known if not parent.report), None)
        if failed:
            self.results[name] = Result(name, waits_for=failed)
        return failed is None


def run_each(
    project: Project,
    mappings: Sequence[Mapping],
    work: Callable[[Mapping], RunReport],
    drifted: dict[str, SchemaDrift],
) -> list[Result]:
    """Calls `work` for each mapping in order; those whose parents failed are skipped, the others go on."""
    journal = Journal(project, drifted)
    for mapping in mappings:
        if journal.may_begin(mapping):
            try:
                result = Result(mapping.entity, report=work(mapping))
            except LegacySyncError as error:
                result = Result(mapping.entity, error=error)
            journal.results[mapping.entity] = result
    return list(journal.results.values())


def plan_each(
    project: Project,
    mappings: Sequence[Mapping],
    plan: Callable[[Sequence[Mapping]], Generator[RunReport, None, None]],
    drifted: dict[str, SchemaDrift],
) -> list[Result]:
    """Plans all mappings together, so that children see their parents; after a failure those left begin anew."""
    journal = Journal(project, drifted)
    left = list(mappings)
    while left := [mapping for mapping in left if journal.may_begin(mapping)]:
        with closing(plan(list(left))) as reports:
            left = _take_plans(journal, left, reports)
    return [journal.results[mapping.entity] for mapping in mappings]


def _take_plans(journal: Journal, mappings: Sequence[Mapping], reports: Iterator[RunReport]) -> list[Mapping]:
    """Notes reports until one fails; returns the mappings behind the failed one."""
    for number, mapping in enumerate(mappings):
        try:
            journal.results[mapping.entity] = Result(mapping.entity, report=next(reports))
        except LegacySyncError as error:
            journal.results[mapping.entity] = Result(mapping.entity, error=error)
            return list(mappings[number + 1 :])
    return []


def find_drifted(workspace: Workspace, mappings: Sequence[Mapping]) -> dict[str, SchemaDrift]:
    """The entities that no longer fit the catalogs; an unreachable side raises."""
    try:
        preflight(workspace, mappings)
    except SchemaDrift:
        pass
    else:
        return {}
    drifted = {}
    for mapping in mappings:
        try:
            preflight(workspace, [mapping])
        except SchemaDrift as error:
            drifted[mapping.entity] = error
    return drifted


def choose_partitions(
    mappings: Iterable[Mapping], partitions: Sequence[str] | None, since: date | None
) -> dict[str, list[str] | None]:
    """The partitions to run per entity, None for those that may have changes; EntityUnknown before anything ran."""
    now = datetime.now(UTC)
    chosen: dict[str, list[str] | None] = {}
    for mapping in mappings:
        today = today_of(mapping, now)
        if partitions:
            chosen[mapping.entity] = [w.partition for w in select_windows(mapping, partitions, today)]
        elif since and isinstance(mapping.partitions, WindowPartitions):
            windows = list_windows(mapping, today)
            chosen[mapping.entity] = [w.partition for w in windows if w.cursor_to is None or w.cursor_to > since]
        else:
            chosen[mapping.entity] = None
    return chosen


def code_of(results: Sequence[Result]) -> int:
    """The exit code of all results together."""
    errors = [result.error for result in results if result.error]
    if errors:
        return BAD_USAGE if all(exit_code(error) == BAD_USAGE for error in errors) else ABORTED
    parked = any(r.report and r.report.outcome != "planned" and r.report.counts.parked for r in results)
    return PARKED if parked else 0
