"""Do both sides agree (`reconcile`), why not, and can that be settled (`--repair`)?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legacy_sync.cli.shell import (
    ABORTED,
    BAD_USAGE,
    PARKED,
    EntitiesArgument,
    JsonOption,
    console,
    describe,
    exit_code,
    opened_workspace,
    print_next,
    print_table,
    show_error,
)
from legacy_sync.errors import LegacySyncError

if TYPE_CHECKING:
    from legacy_sync.cli.progress import Bars
    from legacy_sync.mapping.model import Mapping
    from legacy_sync.sync.differences import Difference, Reconciliation
    from legacy_sync.sync.reconcile import Compared
    from legacy_sync.sync.report import RunReport
    from legacy_sync.sync.workspace import Workspace

_COLUMNS = ("entity", "in the source", "bound", "missing", "gone", "differ", "wait", "edited", "unbound", "result")
_MISSING = ("new", "not_loaded", "erp_row_deleted")
_GONE = ("gone",)
_DIFFER = ("differs", "lag")
_WAIT = ("parked", "waits_for_parent", "conflict")
_LONGEST = 40


def reconcile(
    entities: EntitiesArgument = None,
    values: Annotated[bool, typer.Option("--values", help="Compare all mapped values, too: fetches them all.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch and load all rows of what differs, then compare again.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many differences of each kind are listed.")] = 10,
    accept_shrink: Annotated[
        bool, typer.Option("--accept-shrink", help="With --repair: believe a change that the guards would stop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare both sides: keys, with --values all mapped values; --repair loads what differs.

    Writes nothing without --repair. Edits of people in the ERP are listed and stay. Exit code 0 if both sides agree,
    3 if something only waits (parked, a conflict, a change the next run brings), 1 if something else differs or
    an entity could not be compared.
    """
    if accept_shrink and not repair:
        raise typer.BadParameter("means something only together with --repair", param_hint="--accept-shrink")
    with opened_workspace() as (workspace, project):
        from legacy_sync.cli.progress import Bars

        mappings = project.ordered(entities or None)
        out: _Output = _Lines() if as_json else _Text(limit)
        with Bars() as bars:
            look = _Look(workspace, bars, out, values=values)
            look.compare(mappings)
            if repair:
                look.repair(mappings, accept=accept_shrink)
        out.end(look)
        raise typer.Exit(look.exit_code)


class _Look:
    """What was found so far; an entity that fails stops no other."""

    def __init__(self, workspace: Workspace, bars: Bars, out: _Output, *, values: bool) -> None:
        self.workspace = workspace
        self.bars = bars
        self.out = out
        self.values = values
        self.found: dict[str, Reconciliation] = {}
        self.errors: dict[str, LegacySyncError] = {}
        self.repaired: dict[str, RunReport] = {}

    def compare(self, mappings: Iterable[Mapping]) -> None:
        """Compares these entities, one after the other."""
        from legacy_sync.sync.reconcile import compared

        for mapping in mappings:
            progress = self.bars.show(mapping.entity)
            try:
                with compared(self.workspace, mapping, values=self.values, progress=progress) as comparison:
                    self.found[mapping.entity] = comparison.result
                    self.out.compared(comparison)
            except LegacySyncError as error:
                self.errors[mapping.entity] = error
                self.out.failed(mapping.entity, error)

    def repair(self, mappings: Sequence[Mapping], *, accept: bool) -> None:
        """Repairs what can be, parents first, and compares it again."""
        from legacy_sync.sync.repair import needs_repair, repair_unit

        settled: list[Mapping] = []
        for mapping in mappings:
            result = self.found.get(mapping.entity)
            unit = self.workspace.project.unit_of(mapping)
            if result is None or mapping in settled or not needs_repair(mapping, result, settled):
                continue
            try:
                reports = repair_unit(self.workspace, unit, accept=accept, progress=self.bars.show(mapping.entity))
            except LegacySyncError as error:
                self.errors[mapping.entity] = error
                self.out.failed(mapping.entity, error)
                continue
            settled += unit
            self.repaired |= reports
            for report in reports.values():
                self.out.repaired(report)
        if settled:
            self.out.again()
            self.compare([m for m in settled if m.entity in self.found])

    @property
    def exit_code(self) -> int:
        """0 agrees, 3 something waits, 1 something differs or failed, 2 only if all failures are those of the call."""
        if self.errors:
            codes = {exit_code(error) for error in self.errors.values()}
            return BAD_USAGE if codes == {BAD_USAGE} else ABORTED
        states = {result.state for result in self.found.values()}
        return ABORTED if "differs" in states else PARKED if "waits" in states else 0


# --- text ----------------------------------------------------------------------------------------


class _Text:
    """Tables for people: what each entity has, then the differences of each kind up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rows: list[tuple[Any, ...]] = []
        self.listings: list[tuple[str, str, list[Difference]]] = []
        self.notes: list[str] = []

    def compared(self, comparison: Compared) -> None:
        """One entity was compared."""
        from legacy_sync.sync.differences import KINDS

        result = comparison.result
        groups = [result.total(kinds) for kinds in (_MISSING, _GONE, _DIFFER, _WAIT, ("edited",), ("unbound",))]
        self.rows.append((result.entity, result.read, result.bound, *(n or None for n in groups), result.state))
        for kind, word in KINDS.items():
            if kind in result.rows:
                shown = list(comparison.differences([kind], self.limit)) if word.weight != "fine" or self.limit else []
                total = result.cells.get(kind, result.rows[kind])
                more = f", and {total - len(shown):,} more" if total > len(shown) else ""
                title = f"{result.entity}: {result.rows[kind]:,} rows {word.sentence}"
                self.listings.append((title, more, shown))
        self.notes += [f"{result.entity}: {note}" for note in result.notes]
        self.notes += [
            f"{result.entity}: the sum of {s.column} is {s.legacy:,} in the source and {s.erp:,} in the ERP"
            for s in result.sums
            if s.legacy != s.erp and s.legacy is not None and s.erp is not None
        ]

    def failed(self, entity: str, error: LegacySyncError) -> None:
        """One entity could not be compared or repaired."""
        self.rows.append((entity, *(None for _ in _COLUMNS[2:]), "failed"))
        console(stderr=True).print(f"{entity} failed:", markup=False)
        show_error(error)

    def repaired(self, report: RunReport) -> None:
        """One entity was repaired."""
        c = report.counts
        did = {
            "inserted": c.inserted, "updated": c.updated, "adopted": c.adopted, "deleted": c.deleted,
            "loaded from the quarantine": c.replayed, "parked": c.parked,
        }  # fmt: skip
        told = ", ".join(f"{rows:,} {what}" for what, rows in did.items() if rows) or "nothing had to be written"
        self.notes.append(f"{report.entity}, repaired by run {report.run_id}: {c.read:,} rows read, {told}")

    def again(self) -> None:
        """What follows is said after the repair."""
        self._flush("before the repair")

    def end(self, look: _Look) -> None:
        """Everything was said."""
        self._flush("after the repair" if look.repaired else "")
        print_next(_next_steps(look))

    def _flush(self, title: str) -> None:
        print_table(title, _COLUMNS, self.rows)
        for heading, more, shown in self.listings:
            console().print(f"{heading}{more}" if not shown else f"{heading}:", markup=False, soft_wrap=True)
            for line in map(_in_one_line, shown):
                console().print(f"  {line}", markup=False, soft_wrap=True)
            if shown and more:
                console().print(f"  {more.removeprefix(', ')}", markup=False)
        for note in self.notes:
            console().print(note, markup=False, soft_wrap=True)
        self.rows, self.listings, self.notes = [], [], []


def _in_one_line(d: Difference) -> str:
    row = f"ERP row {d.erp_key}" if d.erp_key else ""
    name = f"{d.legacy_key} ({row})" if d.legacy_key and row else d.legacy_key or row
    if d.column and d.kind not in ("parked", "waits_for_parent"):
        name = f"{name} {d.column}: {_shown(d.legacy_value)} in the source, {_shown(d.erp_value)} in the ERP"
    return f"{name}, {d.why}" if d.why else name


def _shown(value: str | None) -> str:
    if value is None:
        return "null"
    return f'"{value}"' if len(value) <= _LONGEST else f'"{value[:_LONGEST]}…"'


def _next_steps(look: _Look) -> Iterator[str]:
    kinds = {kind for result in look.found.values() for kind in result.rows}
    names = [name for name, result in look.found.items() if result.count("fault") and result.is_repairable]
    if names:
        values = " --values" if look.values else ""
        yield f"`legacy-sync reconcile {' '.join(names)}{values} --repair` reads and loads all their rows"
    if kinds & {"new", "lag", "gone"}:
        yield "`legacy-sync run` brings what changed in the source; what is gone is noticed with --full"
    if kinds & {"parked", "waits_for_parent"}:
        yield "`legacy-sync quarantine list` shows the parked rows"
    if "conflict" in kinds:
        yield "`legacy-sync conflicts list` shows what waits for a decision"
    if not look.values and not kinds and look.found:
        yield "`legacy-sync reconcile --values` compares all values, too"


# --- JSON ----------------------------------------------------------------------------------------


class _Lines:
    """One JSON document that is written as it becomes known, each difference on a line of its own; complete."""

    def __init__(self) -> None:
        print('{"entities": [', end="")
        self._between = "\n"
        self._repairs: list[RunReport] = []

    def compared(self, comparison: Compared) -> None:
        """One entity was compared."""
        head = json.dumps(comparison.result.to_json(), ensure_ascii=False, default=str)
        print(f'{self._between}{head[:-1]}, "differences": [', end="")
        between = "\n"
        for difference in comparison.differences():
            said = {name: value for name, value in asdict(difference).items() if value is not None}
            print(between + json.dumps({**said, "weight": difference.weight}, ensure_ascii=False), end="")
            between = ",\n"
        print("]}", end="")
        self._between = ",\n"

    def failed(self, entity: str, error: LegacySyncError) -> None:
        """One entity could not be compared or repaired."""
        console(stderr=True).print(f"{entity} failed:", markup=False)
        show_error(error)
        said = {"entity": entity, "state": "failed", "error": describe(error)}
        print(self._between + json.dumps(said, ensure_ascii=False), end="")
        self._between = ",\n"

    def repaired(self, report: RunReport) -> None:
        """One entity was repaired."""
        self._repairs.append(report)

    def again(self) -> None:
        """What follows is said after the repair."""
        repairs = json.dumps([report.to_json() for report in self._repairs], ensure_ascii=False, default=str)
        print(f'],\n"repaired": {repairs},\n"after": [', end="")
        self._between = "\n"

    def end(self, _look: _Look) -> None:
        """Everything was said."""
        print("]}")


_Output = _Text | _Lines
