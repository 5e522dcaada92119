"""How are the rows of a plan shown? Kept in a file while the plan goes on, so that a million of them need no memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import typer

from legacy_sync.cli.shell import console

if TYPE_CHECKING:
    from legacy_sync.ledger.planned import PlannedRow
    from legacy_sync.mapping.model import Mapping
    from legacy_sync.sync.load import Loader

_SAMPLE = 10
_WIDTH = 60
_FIRST = 4

_WHY = {
    "insert": "not known yet",
    "update": "only 4D changed it",
    "backfill": "the parent's column is blank",
    "create": "made for a reference that found none",
    "derive": "follows from the rows that belong to it",
    "refresh": "made of columns of another table that changed",
    "relink": "its parent is there now",
}


class Planned:
    """The rows of each entity's plan: a sample, so many as asked for, or all."""

    def __init__(self, rows: str | None, *, as_json: bool) -> None:
        self._limit = _limit(rows, as_json=as_json)
        self._files: dict[str, IO[str]] = {}
        self._complete: dict[str, bool] = {}
        self._open = ExitStack()

    def __enter__(self) -> Planned:
        """Files are made as they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The files are gone with the command."""
        self._open.__exit__(kind, error, trace)

    def note(self, loader: Loader) -> None:
        """Keeps the rows of one plan, as long as the ledger has them."""
        from legacy_sync.ledger.planned import read_rows

        file = self._open.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))  # noqa: SIM115
        entity, mapping = loader.mapping.entity, loader.mapping
        limit = None if self._limit is None else self._limit + 1
        number = 0
        rows = read_rows(loader.connection, loader.entity_id, loader.run_id, list(loader.waiting), limit)
        for number, row in enumerate(rows, start=1):
            if number != limit:
                file.write(json.dumps(_said(row, mapping), ensure_ascii=False) + "\n")
        self._files[entity] = file
        self._complete[entity] = number != limit or limit is None

    def show(self, entity: str) -> None:
        """The rows of one entity, as lines."""
        if entity not in self._files:
            return
        out = console()
        file = self._files[entity]
        file.seek(0)
        for number, line in enumerate(file):
            if not number:
                out.print(f"{entity}: rows", style="bold", soft_wrap=True)
            for text in _lines(json.loads(line), entity):
                out.print(text, markup=False, soft_wrap=True)
        if not self._complete[entity]:
            out.print("  and more: `--rows all` shows every row", markup=False)

    def print_json(self, entities: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """One document with every entity and its rows, written piece by piece."""
        print('{"dry_run": true, "entities": [')
        for place, (entity, said) in enumerate(entities):
            head = json.dumps(said, ensure_ascii=False, default=str)
            print(("," if place else "") + head[:-1] + ', "rows": [')
            file = self._files.get(entity)
            if file:
                file.seek(0)
                for number, line in enumerate(file):
                    print(("," if number else "") + line.rstrip("\n"))
            print("]}")
        print("]}")


def _limit(rows: str | None, *, as_json: bool) -> int | None:
    if rows == "all" or (rows is None and as_json):
        return None
    if rows is None:
        return _SAMPLE
    if not rows.isdecimal():
        raise typer.BadParameter('a whole number, or "all"', param_hint="--rows")
    return int(rows)


def _said(row: PlannedRow, mapping: Mapping) -> dict[str, Any]:
    """A row in plain types, its values one by one, each with the reason of its own if a conflict decides it."""
    values = [
        {"column": column, "old": old, "new": new, "why": _why(row.action, policy, mapping)}
        for column, old, new, policy in zip_longest(row.columns, row.old or (), row.new or (), row.policies or ())
    ]
    return {
        "action": row.action,
        "table": row.table or mapping.target.table,
        "legacy_key": row.legacy_key,
        "erp_key": row.erp_key,
        "values": values,
        "why": row.reason or _why(row.action, None, mapping),
    }


def _why(action: str, policy: str | None, mapping: Mapping) -> str:
    if action == "adopt":
        return f"the row is there already; adoption: {mapping.adoption.policy}"
    if action in ("delete", "gone"):
        return f"the record is gone from 4D; deletes: {mapping.deletes.policy}"
    if action == "conflict":
        return f"both sides changed it, and a person decides ({policy})" if policy else "waits for a person"
    if policy:
        return f"both sides changed it; conflict: {policy}"
    return _WHY.get(action, "")


def _lines(row: dict[str, Any], entity: str) -> list[str]:
    """One row for people: a line, and one more for each value that changes."""
    action, cells, why = row["action"], row["values"], row["why"]
    elsewhere = f" {row['table']}" if row["table"] != entity.split(".")[0] else ""
    place = f"  {action:<8}{elsewhere} {row['legacy_key']}" + (f" (row {row['erp_key']})" if row["erp_key"] else "")
    goes = action == "delete" and all(c["new"] is None for c in cells)
    if goes or action in ("insert", "create"):
        side, place = ("old", f"{place}: {why}: it has") if goes else ("new", f"{place}:")
        said = [f"{c['column']} {_quoted(c[side])}" for c in cells if c[side] not in (None, "")]
        more = f", and {len(said) - _FIRST} more" if len(said) > _FIRST else ""
        return [f"{place} {', '.join(said[:_FIRST])}{more}"]
    if action in ("park", "gone") or not cells:
        return [f"{place}: {why}"]
    alike = len({c["why"] for c in cells}) == 1
    lines = [f"{place}: {cells[0]['why']}" if alike else place]
    for c in cells:
        reason = "" if alike else f"   {c['why']}"
        lines.append(f"{'':<11}{c['column']}: {_quoted(c['old'])} → {_quoted(c['new'])}{reason}")
    return lines


def _quoted(value: str | None) -> str:
    if value is None:
        return "empty"
    return f'"{value}"' if len(value) <= _WIDTH else f'"{value[:_WIDTH]}…"'
