"""What if a record is gone, and people edited its row in the ERP? The mapping says who wins, or a person does.

`ls_edited` has those of the rows in `ls_doomed` of which that is true, with the verdict: `legacy` (the row goes the way
of all rows whose record is gone), `erp` (it stays), `kept` (that was decided before) or `wait`; `ls_edited_cell` has
the edits.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from legacy_sync.erp.shape import Shape
from legacy_sync.ledger.row_conflicts import GONE


def decide_edited(connection: psycopg.Connection, shape: Shape) -> int:
    """Says of each row in `ls_doomed` whether an edit protects it (`is_edited`); returns how many wait for a person."""
    connection.execute("drop table if exists ls_edited, ls_edited_cell")
    _find_edits(connection, shape)
    policy = shape.mapping.deletes.policy_of_edited
    connection.execute(
        sql.SQL(_VERDICTS).format(
            entity=sql.Literal(shape.entity_id),
            verdict=sql.Literal({"legacy_wins": "legacy", "erp_wins": "erp", "manual": "wait"}[policy]),
            by=sql.Literal(f"policy {policy}"),
        )
    )
    connection.execute("alter table ls_doomed add is_edited boolean not null default false")
    connection.execute(
        "update ls_doomed d set is_edited = true from ls_edited x where x._key = d._key and x.verdict <> 'legacy'"
    )
    row = connection.execute("select count(*) from ls_edited where verdict = 'wait'").fetchone()
    return int(row[0]) if row else 0


def _find_edits(connection: psycopg.Connection, shape: Shape) -> None:
    """Every value of the ERP rows that is not what was last agreed on."""
    cells = sql.SQL(", ").join(
        sql.SQL(
            "({name}, case when b.erp_base is null then {base} else {erp_base} end, e.{column}::text, {known})"
        ).format(
            name=sql.Literal(c),
            base=shape.base_of(c),
            erp_base=shape.base_of(c, "erp_base"),
            column=sql.Identifier(c),
            known=shape.has_base(c),
        )
        for c in shape.columns
    )
    connection.execute(
        sql.SQL(
            "create temp table ls_edited_cell as select d._key, v.column_name, v.base, v.erp from ls_doomed d"
            " join legacy_sync.binding b on b.entity_id = {} and b.legacy_key = d._key"
            " join {} e on e.{} = d.erp_key::{}"
            " cross join lateral (values {}) v(column_name, base, erp, known)"
            " where v.known and (v.erp is distinct from v.base or v.erp is null and exists (select"  # null: not agreed
            "  from legacy_sync.conflict c where c.entity_id = b.entity_id and c.legacy_key = d._key and c.is_first"
            "  and c.column_name = v.column_name and (c.status = 'open' or c.decided_by = {})))"
        ).format(sql.Literal(shape.entity_id), shape.erp, shape.pk, shape.pk_type, cells, sql.Literal(GONE))
    )


_VERDICTS = """
create temp table ls_edited as
select d._key, d.erp_key, k.id as conflict_id, coalesce(k.is_as_seen, false) as is_as_seen, false as is_done,
  case when k.choice is not null and k.is_as_seen then k.choice when kept.id is not null then 'kept'
    else {verdict} end as verdict,
  case when k.choice is not null and k.is_as_seen then k.chosen_by else {by} end as by
from ls_doomed d join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = d._key
left join lateral (
  select c.*, seen.cells is not distinct from here.cells as is_as_seen
  from legacy_sync.conflict c
  cross join lateral (select array_agg(row(x.column_name, x.erp_value)::text order by x.column_name) as cells
    from legacy_sync.conflict_cell x where x.conflict_id = c.id) seen
  cross join lateral (select array_agg(row(x.column_name, x.erp)::text order by x.column_name) as cells
    from ls_edited_cell x where x._key = d._key) here
  where c.entity_id = {entity} and c.legacy_key = d._key and c.status = 'open' and c.sort = 'gone_in_legacy') k on true
left join lateral (select c.id from legacy_sync.conflict c where c.entity_id = {entity} and c.legacy_key = d._key
  and c.sort = 'gone_in_legacy' and c.winner = 'erp' and c.closed_at >= b.missing_since limit 1) kept on true
where d._key in (select _key from ls_edited_cell)
"""
