"""Do both sides hold the same records? Compares keys, never whole rows.

The keys of the legacy table stream into a temporary table; every comparison is one set operation there.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import psycopg
from psycopg import sql

from legacy_sync.erp.catalog import find_table
from legacy_sync.errors import ErpRefused
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.base import Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconciliation:
    """How many records each side has, and which differ; the key lists are cut off, the numbers are not."""

    legacy: int
    bound: int
    parked: int
    not_loaded: int
    not_loaded_keys: list[str]
    """in the legacy table, but neither in the ERP nor parked"""
    gone: int
    gone_keys: list[str]
    """loaded once, no longer in the legacy table"""
    erp_gone: int
    erp_gone_keys: list[str]
    """loaded once, but the ERP row was deleted"""
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing and nothing is too many."""
        return not (self.not_loaded or self.gone or self.erp_gone)

    def in_words(self) -> str:
        """The differences in one sentence."""
        found = {
            "in the legacy table and not loaded": self.not_loaded,
            "loaded and no longer in the legacy table": self.gone,
            "loaded and deleted in the ERP": self.erp_gone,
        }
        return ", ".join(f"{rows:,} {what}" for what, rows in found.items() if rows) or "both sides agree"


def is_comparable(mapping: Mapping) -> bool:
    """Whether a list of the keys of the legacy table is enough: all of its records are meant, and __KEY names them."""
    source = mapping.source
    return source.key == ("__KEY",) and not (source.key_cast or source.where or source.explode)


def reconcile(connection: psycopg.Connection, source: Source, mapping: Mapping, *, shown: int = 50) -> Reconciliation:
    """Compares the keys of one entity on both sides; names at most `shown` keys of each difference.

    Rows that change while it runs may show up as differences; a second look settles that.
    """
    if not is_comparable(mapping):
        raise _refused(
            f"{mapping.entity} cannot be compared by a list of keys: its key is {', '.join(mapping.source.key)},"
            " or not all records of the table are meant",
            mapping,
            f"compare with a full dry run instead: `legacy-sync run {mapping.entity} --full --dry-run`",
        )
    began = time.monotonic()
    with connection.transaction():
        missing_rows = _missing_rows(connection, mapping)
        entity_id = runs.get_entity_id(connection, mapping.entity)
        _copy_keys(connection, source, mapping)
        legacy = _count(connection, "select count(*) from ls_key", entity_id)
        parked = _count(connection, _PARKED, entity_id)
        not_loaded, not_loaded_keys = _differences(connection, sql.SQL(_NOT_LOADED), entity_id, shown)
        gone, gone_keys = _differences(connection, sql.SQL(_GONE), entity_id, shown)
        erp_gone, erp_gone_keys = _differences(connection, missing_rows, entity_id, shown)
        bound = runs.count_bindings(connection, entity_id)
    result = Reconciliation(
        legacy=legacy,
        bound=bound,
        parked=parked,
        not_loaded=not_loaded,
        not_loaded_keys=not_loaded_keys,
        gone=gone,
        gone_keys=gone_keys,
        erp_gone=erp_gone,
        erp_gone_keys=erp_gone_keys,
        seconds=time.monotonic() - began,
    )
    logger.info("erp/%s: %s in %.1f s", mapping.entity, result.in_words(), result.seconds)
    return result


_PARKED = "select count(*) from legacy_sync.quarantine where entity_id = %(entity)s and status = 'open'"
_NOT_LOADED = """
select k.key from ls_key k
where not exists (select 1 from legacy_sync.binding b where b.entity_id = %(entity)s and b.legacy_key = k.key)
  and not exists (select 1 from legacy_sync.quarantine q
                  where q.entity_id = %(entity)s and q.legacy_key = k.key and q.status in ('open', 'discarded'))
"""
_GONE = """
select b.legacy_key from legacy_sync.binding b
where b.entity_id = %(entity)s and not exists (select 1 from ls_key k where k.key = b.legacy_key)
"""
_ERP_GONE = """
select b.legacy_key from legacy_sync.binding b
where b.entity_id = %(entity)s and not exists (select 1 from {table} t where t.{primary}::text = b.erp_key)
"""


def _missing_rows(connection: psycopg.Connection, mapping: Mapping) -> sql.Composed:
    table = find_table(connection, mapping.target.table)
    if table is None or len(table.primary_key) != 1:
        what = f'the ERP table "{mapping.target.table}" is missing or has no primary key of one column'
        raise _refused(what, mapping, "run pyERP's migrations, or correct `target.table`")
    return sql.SQL(_ERP_GONE).format(
        table=sql.Identifier(table.schema, table.name), primary=sql.Identifier(table.primary_key[0])
    )


def _copy_keys(connection: psycopg.Connection, source: Source, mapping: Mapping) -> None:
    """All keys of the legacy table, each once; a row that moves while pages are read may come twice."""
    connection.execute("create temp table ls_received (key text) on commit drop")
    with connection.cursor() as cursor, cursor.copy("copy ls_received from stdin") as copy:
        for batch in source.fetch_keys(mapping.source.table):
            for key in batch:
                copy.write_row((key,))
    connection.execute("create temp table ls_key on commit drop as select distinct key from ls_received")
    connection.execute("create index on ls_key (key)")
    connection.execute("analyze ls_key")


def _differences(
    connection: psycopg.Connection, query: sql.Composable, entity_id: int, shown: int
) -> tuple[int, list[str]]:
    whole = sql.SQL("with found(key) as ({}) select count(*) over (), key from found order by key limit {}").format(
        query, shown
    )
    rows = connection.execute(whole, {"entity": entity_id}).fetchall()
    return (int(rows[0][0]), [str(r[1]) for r in rows]) if rows else (0, [])


def _count(connection: psycopg.Connection, query: str, entity_id: int) -> int:
    row = connection.execute(query, {"entity": entity_id}).fetchone()
    return int(row[0]) if row else 0


def _refused(what: str, mapping: Mapping, next_step: str) -> ErpRefused:
    return ErpRefused(what, where=f"reconciliation of {mapping.entity}", next_step=next_step)
