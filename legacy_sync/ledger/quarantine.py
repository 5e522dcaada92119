"""Which rows wait, why, and what became of them? Parked rows keep their raw record and are replayed from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Json

from legacy_sync.errors import RowNotFound

# What stands in the way lies in the ERP and may go without the record changing.
DEPENDS_ON_ERP = (
    "reference_missing",
    "reference_ambiguous",
    "second_choice",
    "duplicate",
    "adoption_ambiguous",
    "refused_by_database",
    "no_erp_row",
    "duplicate_key",
    "unit_incomplete",
)


_NUL = r"(?<!\\)((?:\\\\)*)\\u0000"


@dataclass(frozen=True)
class Parked:
    """One row to be parked, with everything needed to understand and to replay it."""

    legacy_key: str
    reason: str
    column: str | None
    value: str | None
    message: str
    row: dict[str, Any]
    fetched: int
    status: str = "open"


@dataclass(frozen=True)
class Replay:
    """One parked row that is worth another try."""

    legacy_key: str
    status: str
    reason: str
    row: dict[str, Any]
    fetched: int


@dataclass(frozen=True)
class ParkedEntry:
    """One entry of the quarantine."""

    id: int
    entity: str
    legacy_key: str
    status: str
    reason: str
    column_name: str | None
    value: str | None
    message: str
    row: dict[str, Any]
    partition: str
    parked_at: datetime
    first_run: int
    last_run: int
    closed_at: datetime | None
    closed_by: str | None
    comment: str | None


def park_rows(
    connection: psycopg.Connection,
    entity_id: int,
    partition: str,
    rows: Iterable[Parked],
    *,
    run_id: int,
    mapping_version: str,
) -> set[str]:
    """Parks rows; one entry per record stays open, with the newest reason.

    A row that was discarded stays so until its record or its reason changes; returns the keys of such rows.
    """
    values = {"entity": entity_id, "partition": partition, "version": mapping_version, "run": run_id}
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        with cursor.copy("copy ls_quarantine from stdin") as copy:
            copy.set_types(["text", "text", "text", "text", "text", "json", "int8", "text"])
            for p in rows:
                message = p.message.replace("\x00", "\\0")
                row = Json(storable(p.row))
                copy.write_row((p.legacy_key, p.reason, p.column, _visible(p.value), message, row, p.fetched, p.status))
        discarded = {str(key) for (key,) in cursor.execute(_DROP_DISCARDED, values).fetchall()}
        cursor.execute(_UPSERT, values)
    return discarded


_CREATE = """
drop table if exists ls_quarantine;
create temp table ls_quarantine (legacy_key text, reason text, column_name text, value text, message text,
  row json, fetched bigint, status text)
"""
_DROP_DISCARDED = """
delete from ls_quarantine n using legacy_sync.quarantine q
where q.entity_id = %(entity)s and q.status = 'discarded' and q.legacy_key = n.legacy_key
  and q.reason = n.reason and q.row::text = n.row::text
returning n.legacy_key
"""
_UPSERT = """
insert into legacy_sync.quarantine as q (entity_id, legacy_key, reason, column_name, value, message, row, fetched,
  status, partition, mapping_version, first_run, last_run)
select distinct on (legacy_key) %(entity)s, legacy_key, reason, column_name, value, message, row, fetched,
  status, %(partition)s, %(version)s, %(run)s, %(run)s
from ls_quarantine order by legacy_key, fetched desc
on conflict (entity_id, legacy_key) where status in ('open', 'watching') do update set
  reason = excluded.reason, column_name = excluded.column_name, value = excluded.value, message = excluded.message,
  row = excluded.row, fetched = excluded.fetched, status = excluded.status, last_run = excluded.last_run,
  mapping_version = excluded.mapping_version
where (q.status, q.reason, q.message, q.row::text, q.mapping_version)
  is distinct from (excluded.status, excluded.reason, excluded.message, excluded.row::text, excluded.mapping_version)
"""


def attribute_of(row: LiteralString, name: str) -> sql.Composed:
    """SQL: an attribute of a raw record without blanks around; NUL bytes, which no text of PostgreSQL holds, go."""
    return sql.SQL("btrim(regexp_replace({}::text, {}, {}, 'g')::json ->> {})").format(
        sql.SQL(row), sql.Literal(_NUL), sql.Literal("\\1"), sql.Literal(name)
    )


def replayable(
    connection: psycopg.Connection, entity_id: int, mapping_version: str, unit: dict[int, str] | None = None
) -> list[Replay]:
    """Rows worth another try: those the ERP stood in the way of, and all of them after the mapping changed.

    `unit` has, by entity, the attribute that names the document in its records: a row that waits for the rest of
    its document is tried when no other row of that is refused for a reason of its own.
    """
    waits = sql.SQL("").format()
    if unit:
        hindered = sql.SQL(" union ").join(
            sql.SQL(
                "select {key} from legacy_sync.quarantine o where o.entity_id = {entity}"
                " and o.status = 'open' and not o.reason = any(%(reasons)s) union"
                " select {key} from legacy_sync.conflict_record o"
                " join legacy_sync.conflict c using (entity_id, legacy_key) where o.entity_id = {entity}"
                " and c.status = 'open' and c.sort = 'gone_in_erp'"
            ).format(key=attribute_of("o.row", key), entity=sql.Literal(entity))
            for entity, key in unit.items()
        )
        waits = sql.SQL(" and (reason <> 'unit_incomplete' or {} not in ({}))").format(
            attribute_of("row", unit[entity_id]), hindered
        )
    query = sql.SQL(
        "select legacy_key, status, reason, row, fetched from legacy_sync.quarantine"
        " where entity_id = %(entity)s and status in ('open', 'watching')"
        " and (reason = any(%(reasons)s) or mapping_version <> %(version)s){waits} order by fetched, id"
    ).format(waits=waits)
    values = {"entity": entity_id, "reasons": list(DEPENDS_ON_ERP), "version": mapping_version}
    with connection.cursor(row_factory=class_row(Replay)) as cursor:
        return cursor.execute(query, values).fetchall()


def close_loaded(connection: psycopg.Connection, entity_id: int, run_id: int) -> int:
    """Closes the entries of records that are staged and need no more watching; returns how many were open."""
    row = connection.execute(
        "with closed as (update legacy_sync.quarantine q set status = 'loaded', closed_at = now(), closed_by ="
        " 'run ' || %(run)s,"
        "  last_run = %(run)s from (select id, status from legacy_sync.quarantine where entity_id = %(entity)s"
        "   and status in ('open', 'watching')) before"
        "  where before.id = q.id and exists (select 1 from ls_stage s where s._key = q.legacy_key)"
        "   and not exists (select 1 from ls_second_choice w where w._key = q.legacy_key) returning before.status)"
        " select count(*) from closed where status = 'open'",
        {"run": run_id, "entity": entity_id},
    ).fetchone()
    return int(row[0]) if row else 0


def list_entries(
    connection: psycopg.Connection,
    *,
    entity: str | None = None,
    status: str | None = "open",
    reason: str | None = None,
    limit: int = 100,
) -> list[ParkedEntry]:
    """Entries of the quarantine, newest first."""
    with connection.cursor(row_factory=class_row(ParkedEntry)) as cursor:
        return cursor.execute(
            _ENTRY + " where (%(entity)s::text is null or e.name = %(entity)s)"
            " and (%(status)s::text is null or q.status = %(status)s)"
            " and (%(reason)s::text is null or q.reason = %(reason)s) order by q.id desc limit %(limit)s",
            {"entity": entity, "status": status, "reason": reason, "limit": limit},
        ).fetchall()


def count_open(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Open entries by entity and reason."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select e.name as entity, q.reason, count(*) as rows, min(q.parked_at) as oldest"
            " from legacy_sync.quarantine q join legacy_sync.entity e on e.id = q.entity_id"
            " where q.status = 'open' group by 1, 2 order by 1, 3 desc"
        ).fetchall()


def get_entry(connection: psycopg.Connection, entry_id: int) -> ParkedEntry:
    """One entry; raises RowNotFound."""
    with connection.cursor(row_factory=class_row(ParkedEntry)) as cursor:
        entry = cursor.execute(_ENTRY + " where q.id = %s", [entry_id]).fetchone()
    if entry is None:
        raise RowNotFound(
            f"there is no parked row {entry_id}",
            where="quarantine",
            next_step="see `legacy-sync quarantine list --status all` for the numbers",
        )
    return entry


def mark_for_replay(connection: psycopg.Connection, entry_ids: Sequence[int]) -> int:
    """Lets the next run of their entities try these open rows again; returns how many."""
    return connection.execute(
        "update legacy_sync.quarantine set mapping_version = '' where id = any(%s) and status = 'open'",
        [list(entry_ids)],
    ).rowcount


def discard(connection: psycopg.Connection, entry_ids: Sequence[int], *, by: str, comment: str) -> int:
    """Closes open rows for good, with a reason; returns how many."""
    return connection.execute(
        "update legacy_sync.quarantine set status = 'discarded', closed_at = now(), closed_by = %s, comment = %s"
        " where id = any(%s) and status = 'open'",
        [by, comment, list(entry_ids)],
    ).rowcount


_ENTRY = (
    "select q.id, e.name as entity, q.legacy_key, q.status, q.reason, q.column_name, q.value, q.message, q.row,"
    " q.partition,"
    " q.parked_at, q.first_run, q.last_run, q.closed_at, q.closed_by, q.comment"
    " from legacy_sync.quarantine q join legacy_sync.entity e on e.id = q.entity_id"
)


def storable(value: Any) -> Any:
    """JSON knows no NaN and no infinity; they are kept as visible text."""
    if isinstance(value, dict):
        return {k: storable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [storable(v) for v in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value


def _visible(value: str | None) -> str | None:
    return None if value is None else value.replace("\x00", "\\0")
