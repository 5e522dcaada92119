"""How are several entities run so that one failure stops only those that build on it, and the others side by side?"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from typing import Any

from legacy_sync.cli.shell import ABORTED, BAD_USAGE, PARKED, describe, exit_code
from legacy_sync.errors import LegacySyncError, SchemaDrift
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping, WindowPartitions
from legacy_sync.sync.report import RunReport, link_rates
from legacy_sync.sync.turns import Turns, Unit, units_of
from legacy_sync.sync.windows import list_windows, select_windows, today_of
from legacy_sync.sync.workspace import Workspace, preflight

_GRACE_SECONDS = 3.0

Reports = dict[str, RunReport]
Work = Callable[[Unit], Reports]


@dataclass
class Result:
    """What became of one entity: a report, an error, or neither because `waits_for` failed."""

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
            return {**self.report.to_json(), "link_rates": link_rates(self.report.links)}
        error = describe(self.error) if self.error else None
        return {"entity": self.entity, "outcome": self.outcome, "error": error, "waits_for": self.waits_for}


class Journal:
    """The results so far, and who may still begin."""

    def __init__(self, turns: Turns, drifted: dict[str, SchemaDrift]) -> None:
        self._turns = turns
        self._drifted = drifted
        self.results: dict[str, Result] = {}

    def may_begin(self, unit: Unit) -> bool:
        """False, with results, for a unit of which one has drifted or whose parent failed."""
        names = [m.entity for m in unit]
        drifted = [name for name in names if name in self._drifted]
        known = [self.results[parent] for parent in sorted(self._turns.parents_of(unit)) if parent in self.results]
        stopped = sorted((result for result in known if not result.report), key=lambda result: result.error is None)
        failed = drifted or [result.entity for result in stopped]  # those that failed before those that only wait
        for name in names if failed else ():
            error = self._drifted.get(name)
            self.results[name] = Result(name, error=error, waits_for=None if error else failed[0])
        return not failed

    def note(self, unit: Unit, work: Callable[[], Reports]) -> None:
        """Does the work and keeps what became of it; anything but our errors passes."""
        try:
            reports = work()
            found = [Result(m.entity, report=reports[m.entity]) for m in unit]
        except LegacySyncError as error:
            found = [Result(m.entity, error=error) for m in unit]
        self.results |= {result.entity: result for result in found}


def run_each(
    project: Project,
    mappings: Sequence[Mapping],
    work: Work,
    drifted: dict[str, SchemaDrift],
    *,
    jobs: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Calls `work` for each unit, up to `jobs` at a time, parents first; those whose parents failed are skipped."""
    turns = Turns(project, mappings)
    units = units_of(project, mappings)
    journal = Journal(turns, drifted)
    if min(jobs, len(units)) > 1:
        _side_by_side(turns, journal, work, jobs, stop)
    else:
        _one_after_the_other(turns, journal, work)
    return [journal.results[m.entity] for unit in units for m in unit]


def _one_after_the_other(turns: Turns, journal: Journal, work: Work) -> None:
    while unit := turns.take(journal.results):
        if journal.may_begin(unit):
            journal.note(unit, partial(work, unit))
        turns.end(unit)


def _side_by_side(turns: Turns, journal: Journal, work: Work, jobs: int, stop: Callable[[], None]) -> None:
    """After an interrupt the running ones are told to `stop`; those that cannot hear it are not waited for long."""
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="entity")
    running: dict[Future[None], Unit] = {}
    is_patient = True
    try:
        while True:
            while len(running) < jobs and (unit := turns.take(journal.results)):
                if journal.may_begin(unit):
                    running[pool.submit(journal.note, unit, partial(work, unit))] = unit
                else:
                    turns.end(unit)
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                turns.end(running.pop(future))
                future.result()  # anything but our errors ends the command
    except KeyboardInterrupt:
        stop()
        is_patient = False
        wait(running, timeout=_GRACE_SECONDS)
        raise
    finally:
        pool.shutdown(wait=is_patient, cancel_futures=True)


def plan_each(
    project: Project,
    mappings: Sequence[Mapping],
    plan: Callable[[Sequence[Mapping]], Generator[RunReport, None, None]],
    drifted: dict[str, SchemaDrift],
) -> list[Result]:
    """Plans all mappings together, so that children see their parents; after a failure those left begin anew."""
    units = units_of(project, mappings)
    journal = Journal(Turns(project, mappings), drifted)
    left = units
    while left := [unit for unit in left if journal.may_begin(unit)]:
        with closing(plan([m for unit in left for m in unit])) as reports:
            left = _take_plans(journal, left, reports)
    return [journal.results[m.entity] for unit in units for m in unit]


def _take_plans(journal: Journal, units: Sequence[Unit], reports: Iterator[RunReport]) -> list[Unit]:
    """Notes reports until one fails; returns the units behind the failed one."""
    for number, unit in enumerate(units):
        journal.note(unit, lambda: {report.entity: report for report in islice(reports, len(unit))})  # noqa: B023
        if not all(journal.results[m.entity].report for m in unit):
            return list(units[number + 1 :])
    return []


def find_drifted(
    workspace: Workspace, mappings: Sequence[Mapping], *, accept: bool = False, remember: bool = True
) -> dict[str, SchemaDrift]:
    """The entities that no longer fit the catalogs; an unreachable side raises."""
    try:
        preflight(workspace, mappings, accept=accept, remember=remember)
    except SchemaDrift:
        pass
    else:
        return {}
    drifted = {}
    for mapping in mappings:
        try:
            preflight(workspace, [mapping], accept=accept, remember=remember)
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
