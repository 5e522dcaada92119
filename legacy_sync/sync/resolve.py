"""How are conflicts settled? A person's choice is written down, and the rows are loaded with it as in every run.

Each conflict has the values it was found with. If a side has changed since, the choice is not carried out: the
conflict is closed, and another one with the new values waits.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg

from legacy_sync.erp.chosen import as_stored
from legacy_sync.errors import ChoiceUnusable
from legacy_sync.ledger.choices import record_choices
from legacy_sync.ledger.conflicts import get_conflict, list_conflicts
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.choosing import apply_choices
from legacy_sync.sync.gone import settle_chosen
from legacy_sync.sync.load import Loader
from legacy_sync.sync.loading import end_run, loading
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.turns import units_of
from legacy_sync.sync.workspace import Workspace, require_table

Keep = Literal["legacy", "erp", "value"]
Found = dict[str, Any]
_ALL = 10_000_000
_WHERE = "conflicts resolve"


@dataclass(frozen=True)
class Choice:
    """Which value counts, who says so, and why. `value` is the ERP's text of it; empty: none, or the empty text."""

    keep: Keep
    by: str
    value: str | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        """Raises ChoiceUnusable if a value is given and another one counts, or the other way round."""
        if (self.keep == "value") != (self.value is not None):
            raise ChoiceUnusable(
                "it is not clear what counts: a side, or a value",
                where=_WHERE,
                next_step="keep what one side has and give no value, or keep a value and say which",
            )

    def __str__(self) -> str:
        return f'the value "{self.value}"' if self.keep == "value" else f"what {_SIDE[self.keep]} has"


_SIDE = {"legacy": "the legacy system", "erp": "the ERP"}


@dataclass
class Settled:
    """What became of conflicts: those that are decided now, and why others still wait, by number."""

    decided: list[Found] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)
    reports: list[RunReport] = field(default_factory=list)


def choose(workspace: Workspace, *, ids: Sequence[int] = (), entity: str | None = None, column: str | None = None,
           every: bool = False) -> list[Found]:  # fmt: skip
    """The open conflicts that are meant: by number, or by entity and column, or all.

    Raises ChoiceUnusable if nothing or two things are named or a named one is closed, RowNotFound for unknown ones.
    """
    if bool(ids) + bool(entity or column) + every != 1:
        raise ChoiceUnusable(
            "it is not clear which conflicts are meant",
            where=_WHERE,
            next_step="name either their numbers, or an entity or a column or both, or all",
        )
    name = workspace.project.get(entity).entity if entity else None
    with workspace.erp() as connection:
        for number in ids:
            _require_open(get_conflict(connection, number))
        return list_conflicts(connection, ids=list(ids) or None, entity=name, column=column, limit=_ALL)


def _require_open(conflict: Found) -> None:
    if conflict["status"] == "open":
        return
    by = f" by {conflict['decided_by']}" if conflict["decided_by"] else ""
    after = conflict["followed_by"]
    raise ChoiceUnusable(
        f"conflict {conflict['id']} is {conflict['status']} already{by}",
        where=_WHERE,
        next_step=f"look at conflict {after}, which has the values of now" if after else "nothing, it waits no longer",
    )


def resolve(
    workspace: Workspace,
    conflicts: Sequence[Found],
    choice: Choice,
    *,
    dry_run: bool = False,
    dagster_run_id: str | None = None,
) -> Settled:
    """Settles these conflicts, entity by entity; each commits whole. A dry run does the same and takes it back.

    Raises ChoiceUnusable before anything is written if a column cannot hold the value, EntityBusy if an entity is
    being loaded; entities before it are settled then.
    """
    project, settled = workspace.project, Settled()
    _require_mapped(workspace, conflicts)
    _require_whole(workspace, conflicts, choice)
    texts = _stored_values(workspace, conflicts, choice)
    names = dict.fromkeys(c["entity"] for c in conflicts)
    for unit in units_of(project, project.ordered(list(names))):
        own = [c for c in conflicts if c["entity"] in {m.entity for m in unit}]
        _resolve_unit(workspace, unit, own, choice, texts, settled, dry_run, dagster_run_id)
    return settled


def _resolve_unit(
    workspace: Workspace,
    unit: Sequence[Mapping],
    own: Sequence[Found],
    choice: Choice,
    texts: Dict[tuple[str, str], str | None],
    settled: Settled,
    dry_run: bool,
    dagster_run_id: str | None,
) -> None:
    names = {c["entity"] for c in own}
    with loading(
        workspace, unit, full=False, dry_run=dry_run, dagster_run_id=dagster_run_id, mode="replay"
    ) as loaders:  # fmt: skip
        session = loaders[0].session
        session.whole(loaders[0].where("choices"), lambda: _record(session.connection, own, choice, texts))
        apply_choices(loaders)
        for loader in loaders:
            _end(workspace, loader)
        settled.reports += [loader.report for loader in loaders if loader.report.entity in names]
        for conflict in list_conflicts(session.connection, ids=[c["id"] for c in own], status=None, limit=_ALL):
            _sort(conflict, settled)


def _end(workspace: Workspace, loader: Loader) -> None:
    settle_chosen(loader)
    loader.relink()
    end_run(workspace, loader, [])


def _record(
    connection: psycopg.Connection,
    own: Sequence[Found],
    choice: Choice,
    texts: Dict[tuple[str, str], str | None],
) -> None:
    """One statement per column, since each column writes a value in its own way."""
    by_column: dict[tuple[str, str], list[int]] = {}
    for conflict in own:
        by_column.setdefault((conflict["entity"], conflict["column_name"] or ""), []).append(conflict["id"])
    for place, ids in by_column.items():
        record_choices(connection, ids, keep=choice.keep, value=texts.get(place), by=choice.by, comment=choice.comment)


def _sort(conflict: Found, settled: Settled) -> None:
    number = conflict["id"]
    if conflict["status"] == "decided" and conflict["chosen_by"]:
        settled.decided.append(conflict)
    elif conflict["followed_by"]:
        settled.waiting[number] = (
            f"not carried out, since there was {conflict['decided_by']}: conflict {conflict['followed_by']} waits now"
        )
    elif conflict["status"] != "open":
        settled.waiting[number] = f"not needed any more, since there was {conflict['decided_by']}"
    elif conflict["refusal"]:
        settled.waiting[number] = f"refused, nothing was written: {conflict['refusal']}"
    elif conflict["sort"] == "gone_in_legacy":
        settled.waiting[number] = "kept, and carried out as soon as no other row of the ERP refers to this one"
    elif not conflict["has_record"]:
        settled.waiting[number] = (
            "kept, and carried out when its row is loaded next, since its record was not kept then:"
            f" `legacy-sync run {conflict['entity']} --full`"
        )
    else:
        settled.waiting[number] = "kept, and carried out with its record, which waits in the quarantine"


# --- values --------------------------------------------------------------------------------------


def _require_mapped(workspace: Workspace, conflicts: Sequence[Found]) -> None:
    unknown = sorted({c["entity"] for c in conflicts} - workspace.project.mappings.keys())
    if unknown:
        raise ChoiceUnusable(
            f"no mapping loads {', '.join(unknown)} any more",
            where=_WHERE,
            next_step="name other conflicts, or bring the mapping back",
        )


def _require_whole(workspace: Workspace, conflicts: Sequence[Found], choice: Choice) -> None:
    """A row that the rest of its document refers to comes back with all of it, or not at all."""
    for conflict in conflicts if choice.keep == "legacy" else ():
        mapping = workspace.project.get(conflict["entity"])
        unit = workspace.project.unit_of(mapping)
        others = [
            field.reference.to for m in unit if m is not mapping for field in m.fields.values() if field.reference
        ]
        if conflict["sort"] == "gone_in_erp" and mapping.target.table in others:
            names = " ".join(m.entity for m in unit)
            raise ChoiceUnusable(
                f"{mapping.entity} {conflict['legacy_key']} cannot come back without the rows that belong to it",
                where=f"conflict {conflict['id']}",
                next_step=f"`legacy-sync reconcile {names} --repair` brings back all documents that were deleted in the"
                " ERP, but for those decided with `--keep erp`",
            )


def _stored_values(
    workspace: Workspace, conflicts: Sequence[Found], choice: Choice
) -> dict[tuple[str, str], str | None]:
    """The chosen value as each column writes it; raises ChoiceUnusable if one of them cannot hold it."""
    texts: dict[tuple[str, str], str | None] = {}
    if choice.keep != "value":
        return texts
    with workspace.erp() as connection:
        for entity, column in {(c["entity"], c["column_name"]) for c in conflicts}:
            mapping = workspace.project.get(entity)
            known = require_table(connection, mapping).columns.get(column) if column else None
            text, problem = as_stored(connection, known, choice.value) if known else (None, _NO_COLUMN)
            if problem:
                raise ChoiceUnusable(
                    f'the value "{(choice.value or "")[:60]}" cannot be used: {problem}',
                    where=f"{entity}, {f'column {column}' if column else 'a whole row'}",
                    next_step="choose another value, or one of the sides; nothing was written",
                )
            texts[entity, column] = text
    return texts


_NO_COLUMN = "the conflict is about a whole row, which is kept as the legacy system or as the ERP has it"
