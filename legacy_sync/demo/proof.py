"""Is it true what the demo claims? Asked of the databases with plain SQL, not of the program that did it."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from legacy_sync.demo.working_day import ENTITY, Day, ask_admin
from legacy_sync.mapping.model import Mapping

Mappings = Dict[str, Mapping]


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


def fingerprint(connection: psycopg.Connection, mappings: Mappings) -> dict[str, str]:
    """A hash over every value of every row, per ERP table that a mapping fills."""
    query = sql.SQL("select coalesce(md5(string_agg(t::text, '' order by t.id)), '') from {} t")
    found = {}
    for table in dict.fromkeys(mapping.target.table for mapping in mappings.values()):
        row = connection.execute(query.format(sql.Identifier(table))).fetchone()
        found[table] = str(row[0]) if row else ""
    return found


def prove(connection: psycopg.Connection, api_url: str, day: Day, mappings: Mappings) -> list[Claim]:
    """Every claim of the demo about the state after the second import."""
    claims = [*_prove_complete(connection, api_url, mappings), _prove_whole_documents(connection)]
    claims.append(_prove_others(connection, mappings))
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


def _prove_complete(connection: psycopg.Connection, api_url: str, mappings: Mappings) -> list[Claim]:
    """Every row of 4D is in the ERP or parked; where a table is short of some, it has a sentence of its own."""
    counts = ask_admin(api_url, "counters")["tables"]
    row_to_row = {e: m for e, m in mappings.items() if m.source.server == "four_d" and _is_row_to_row(m)}
    claims = []
    total = {"in 4D": 0, "in the ERP": 0, "parked": 0}
    for entity, mapping in row_to_row.items():
        loaded, parked = _standing(connection, entity)
        legacy = int(counts[mapping.source.table])
        total = {"in 4D": total["in 4D"] + legacy, "in the ERP": total["in the ERP"] + loaded,
                 "parked": total["parked"] + parked}  # fmt: skip
        if legacy != loaded + parked:
            claims.append(Claim(f"{entity}: {legacy:,} rows in 4D = {loaded:,} in the ERP + {parked:,} parked", False))
    text = (
        f"{len(row_to_row)} tables: {total['in 4D']:,} rows in 4D = {total['in the ERP']:,} in the ERP"
        f" + {total['parked']:,} parked"
    )
    return [Claim(text, not claims), *claims]


def _is_row_to_row(mapping: Mapping) -> bool:
    """Whether every record of the legacy table is one row of the ERP."""
    source = mapping.source
    return source.explode is None and not source.where and source.duplicates == "park"


def _standing(connection: psycopg.Connection, entity: str) -> tuple[int, int]:
    """How many records of an entity are rows of the ERP, and how many wait and are none."""
    row = connection.execute(
        "with e as (select id from legacy_sync.entity where name = %s),"
        " loaded as (select legacy_key from legacy_sync.binding where entity_id in (select id from e))"
        " select (select count(*) from loaded), (select count(*) from legacy_sync.quarantine q"
        "  where q.entity_id in (select id from e) and q.status = 'open'"
        "  and not exists (select from loaded l where l.legacy_key = q.legacy_key))",
        [entity],
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _prove_whole_documents(connection: psycopg.Connection) -> Claim:
    row = connection.execute(
        "select (select count(*) from sales_salesrecord), (select count(*) from legacy_sync.quarantine q"
        " join legacy_sync.entity e on e.id = q.entity_id join sales_salesrecord r on r.legacy_id = q.row ->> 'AbsNr'"
        " where e.name = 'sales_salesrecorditem' and q.status = 'open' and not exists"
        "  (select from legacy_sync.binding b where b.entity_id = q.entity_id and b.legacy_key = q.legacy_key))"
    ).fetchone()
    documents, incomplete = row or (0, 1)
    return Claim(f"none of {documents:,} sales documents lacks a position", documents > 0 and incomplete == 0)


def _prove_others(connection: psycopg.Connection, mappings: Mappings) -> Claim:
    others = {m.entity: _standing(connection, m.entity)[0] for m in mappings.values() if m.source.server != "four_d"}
    sources = {m.source.server for m in mappings.values()} - {"four_d"}
    text = f"{len(sources)} sources beside 4D brought {sum(others.values()):,} rows into {len(others)} tables"
    return Claim(text, all(others.values()))


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
