"""Is it true what the demo claims? Asked of the databases with plain SQL, not of the program that did it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from legacy_sync.demo.working_day import ENTITY, Day, ask_admin

_TABLES = {"products_parentproduct": "Artikel_Familie", "products_variantproduct": "Artikel_Variante"}


@dataclass(frozen=True)
class Claim:
    """One sentence, and whether the databases agree."""

    text: str
    holds: bool


def list_runs(connection: psycopg.Connection, after: int) -> list[dict[str, Any]]:
    """The loads since run number `after`, as the ledger has them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select r.id, e.name as entity, r.outcome, r.counts, r.report, r.message, r.dagster_run_id"
            " from legacy_sync.run r join legacy_sync.entity e on e.id = r.entity_id where r.id > %s order by r.id",
            [after],
        ).fetchall()


def last_run(connection: psycopg.Connection) -> int:
    """The newest run number; 0 before the first run."""
    if not _is_there(connection, "legacy_sync.run"):
        return 0
    row = connection.execute("select coalesce(max(id), 0) from legacy_sync.run").fetchone()
    return int(row[0]) if row else 0


def fingerprint(connection: psycopg.Connection) -> dict[str, str]:
    """A hash over every value of every row, per ERP table."""
    query = sql.SQL("select coalesce(md5(string_agg(t::text, '' order by t.id)), '') from {} t")
    found = {}
    for table in _TABLES:
        row = connection.execute(query.format(sql.Identifier(table))).fetchone()
        found[table] = str(row[0]) if row else ""
    return found


def prove(connection: psycopg.Connection, api_url: str, day: Day) -> list[Claim]:
    """Every claim of the demo about the state after the second import."""
    claims = [_prove_complete(connection, table, count) for table, count in _count_legacy(api_url).items()]
    claims.append(_prove_arrived(connection, day.arrived))
    for edit, key, row in day.edits:
        columns = sql.SQL(", ").join(map(sql.Identifier, edit.expected))
        query = sql.SQL("select {} from products_parentproduct where id = %s").format(columns)
        values = connection.execute(query, [row]).fetchone()
        holds = values == tuple(edit.expected.values())
        end = "kept"
        if len(edit.expected) > 1:
            end = "merged, both are there"
        if edit.disputed:
            end = "the ERP's value stays, the conflict waits for a person"
            holds = holds and _has_conflict(connection, key, edit.disputed)
        claims.append(Claim(f"{edit.story}: {end}", holds))
    return claims


def _count_legacy(api_url: str) -> dict[str, int]:
    counts = ask_admin(api_url, "counters")["tables"]
    return {table: int(counts[legacy]) for table, legacy in _TABLES.items()}


def _prove_complete(connection: psycopg.Connection, table: str, legacy_count: int) -> Claim:
    row = connection.execute(
        sql.SQL(
            "with e as (select id from legacy_sync.entity where name = {name}),"
            " loaded as (select legacy_key from legacy_sync.binding where entity_id in (select id from e)),"
            " parked as (select legacy_key from legacy_sync.quarantine"
            "  where entity_id in (select id from e) and status = 'open')"
            " select (select count(*) from {table}), (select count(*) from loaded),"
            "  (select count(*) from parked where legacy_key not in (select legacy_key from loaded))"
        ).format(name=sql.Literal(table), table=sql.Identifier(table))
    ).fetchone()
    in_erp, loaded, parked = row or (0, 0, 0)
    text = f"{table}: {legacy_count:,} rows in 4D = {in_erp:,} in the ERP + {parked:,} parked"
    return Claim(text, in_erp == loaded and legacy_count == in_erp + parked)


def _prove_arrived(connection: psycopg.Connection, keys: tuple[str, ...]) -> Claim:
    row = connection.execute(
        "select (select count(distinct legacy_key) from legacy_sync.binding where legacy_key = any(%(keys)s)),"
        " (select count(distinct legacy_key) from legacy_sync.quarantine where legacy_key = any(%(keys)s)"
        "  and status = 'open' and legacy_key not in (select legacy_key from legacy_sync.binding))",
        {"keys": list(keys)},
    ).fetchone()
    loaded, parked = row or (0, 0)
    text = f"{len(keys)} rows added or repaired in 4D: {loaded} are in the ERP, {parked} parked with a reason"
    return Claim(text, loaded > 0 and loaded + parked == len(keys))


def _has_conflict(connection: psycopg.Connection, key: str, column: str) -> bool:
    row = connection.execute(
        "select 1 from legacy_sync.conflict c join legacy_sync.entity e on e.id = c.entity_id where e.name = %s"
        " and c.legacy_key = %s and c.column_name = %s and c.status = 'open' and c.erp_value <> c.legacy_value",
        [ENTITY, key, column],
    ).fetchone()
    return row is not None


def _is_there(connection: psycopg.Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s)", [table]).fetchone()
    return bool(row and row[0])
