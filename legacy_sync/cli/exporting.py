"""How does the ledger leave the house? `legacy-sync export`, as CSV, JSON or Parquet, a portion at a time."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from legacy_sync.cli.shell import console, opened_workspace

Portions = Iterator[tuple[list[str], list[tuple[Any, ...]]]]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?", re.ASCII)


class What(StrEnum):
    """What can be exported."""

    runs = "runs"
    changes = "changes"
    quarantine = "quarantine"
    conflicts = "conflicts"
    bindings = "bindings"


class Format(StrEnum):
    """How."""

    csv = "csv"
    json = "json"
    parquet = "parquet"


def export(
    what: Annotated[What, typer.Argument(help="What to export; `changes` is the audit trail, a line for each value.")],
    entity: Annotated[str | None, typer.Option("--entity", help="Only this entity.")] = None,
    run: Annotated[int | None, typer.Option("--run", metavar="RUN", help="Only what this run wrote.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only from the beginning of that day (UTC) on.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only before the beginning of that day (UTC).")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="JSON has one object per line.")] = Format.csv,
    output: Annotated[Path | None, typer.Option("--output", help="A file; without it stdout.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="The file may be there already.")] = False,
) -> None:
    """Write runs, changes, parked rows, conflicts or bindings of the ledger to a file or stdout."""
    if output and output.exists() and not overwrite:
        raise typer.BadParameter(f"{output} is there already: say --overwrite, or name another", param_hint="--output")
    if form is Format.parquet and not output:
        raise typer.BadParameter("Parquet needs --output FILE", param_hint="--format")
    with opened_workspace() as (workspace, project):
        from legacy_sync.ledger.exports import read_export

        name = project.get(entity).entity if entity else None
        with workspace.erp() as connection, connection.transaction():
            portions = read_export(connection, what, entity=name, run_id=run, since=_utc(since), until=_utc(until))
            rows = _write(portions, form, output)
    if output:
        console(stderr=True).print(f"{rows:,} rows in {output}", markup=False, soft_wrap=True)


def _utc(day: datetime | None) -> datetime | None:
    return day.replace(tzinfo=UTC) if day else None


def _write(portions: Portions, form: Format, output: Path | None) -> int:
    """Writes aside and then renames, so that no half file is there; returns how many rows."""
    if output is None:
        return _write_text(portions, form, nullcontext(sys.stdout))
    aside = output.with_name(f".{output.name}.part")
    try:
        if form is Format.parquet:
            rows = _write_parquet(portions, aside)
        else:
            rows = _write_text(portions, form, aside.open("w", encoding="utf-8", newline=""))
        aside.replace(output)
    finally:
        aside.unlink(missing_ok=True)
    return rows


def _write_text(portions: Portions, form: Format, opened: AbstractContextManager[IO[str]]) -> int:
    count = 0
    with opened as file:
        writer = csv.writer(file)
        for number, (names, rows) in enumerate(portions):
            if form is Format.csv and not number:
                writer.writerow(names)
            for row in rows:
                if form is Format.csv:
                    writer.writerow([_cell(value) for value in row])
                else:
                    file.write(
                        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=_plain) + "\n"
                    )
            count += len(rows)
    return count


def _write_parquet(portions: Portions, path: Path) -> int:
    """Every column as text, as the ledger keeps values; null stays null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, writer = 0, None
    for names, rows in portions:
        schema = pa.schema([(name, pa.string()) for name in names])
        writer = writer or pq.ParquetWriter(path, schema, compression="zstd")
        columns = [[_text(row[n]) for row in rows] for n in range(len(names))]
        writer.write_table(pa.table([pa.array(c, pa.string()) for c in columns], schema=schema))
        count += len(rows)
    if writer:
        writer.close()
    return count


def _cell(value: Any) -> str:
    """A value for a spreadsheet: what it would take for a formula gets an apostrophe in front."""
    text = _text(value) or ""
    is_formula = text.startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula and isinstance(value, str) else text


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    return _plain(value)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
