"""What did a run, or the plan of one, write down of every row: insert, update, delete, park, conflict, and why?

A plan is a run that is rolled back. As long as it is not, the ledger has all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True)
class PlannedRow:
    """One row and what happens to it. `old` and `new` are the values of `columns`; `old` is None for a new row.

    `policies` has for each column the policy that decided a conflict, or None where only one side changed it.
    """

    action: str
    table: str | None
    legacy_key: str
    erp_key: str | None
    columns: list[str]
    old: list[str | None] | None
    new: list[str | None] | None
    policies: list[str | None] | None
    reason: str | None


_ROWS = """
select 'insert' as action, null as table, b.legacy_key, b.erp_key, s.names as columns, null::text[] as old,
  b.base as new, null::text[] as policies, null as reason
from legacy_sync.binding b join legacy_sync.column_set s on s.id = b.column_set_id
where b.entity_id = %(entity)s and b.created_run = %(run)s and b.origin = 'insert'
union all
select 'adopt', null, b.legacy_key, b.erp_key, '{}', null, null, null, null from legacy_sync.binding b
where b.entity_id = %(entity)s and b.created_run = %(run)s and b.origin = 'adopt' and not exists (
  select from legacy_sync.change c where c.entity_id = b.entity_id and c.legacy_key = b.legacy_key
    and c.run_id = %(run)s and c.kind = 'adopt')
union all
select c.kind, c.erp_table, c.legacy_key, c.erp_key, c.columns, c.before, c.after,
  array(select (select k.policy from legacy_sync.conflict k where k.entity_id = c.entity_id
      and k.legacy_key = c.legacy_key and k.column_name = x.name and k.last_run = c.run_id and k.status = 'decided'
      order by k.id desc limit 1) from unnest(c.columns) with ordinality x(name, place) order by x.place),
  null
from legacy_sync.change c where c.run_id = %(run)s
union all
select case k.status when 'open' then 'conflict' else 'keep' end, null, k.legacy_key, k.erp_key,
  x.columns, x.old, x.new, x.policies,
  case k.sort when 'gone_in_erp' then 'its row was deleted in the ERP, and the record changed'
    when 'gone_in_legacy' then 'its record is gone, and people edited the row in the ERP'
    else concat('both sides last agreed on ', coalesce('"' || k.base_value || '"', 'nothing')) end
from legacy_sync.conflict k cross join lateral (
  select array[k.column_name] as columns, array[k.erp_value] as old, array[k.legacy_value] as new,
    array[k.policy] as policies where k.sort = 'value'
  union all
  select coalesce(array_agg(c.column_name order by c.column_name), '{}'), array_agg(c.erp_value order by c.column_name),
    array_agg(c.legacy_value order by c.column_name), array_fill(k.policy, array[count(*)::integer])
  from legacy_sync.conflict_cell c where c.conflict_id = k.id having k.sort <> 'value') x
where k.entity_id = %(entity)s and k.last_run = %(run)s
  and (k.status = 'open' or k.status = 'decided' and k.winner = 'erp')
union all
select 'park', null, q.legacy_key, null, case when q.column_name is null then '{}' else array[q.column_name] end,
  null, case when q.column_name is null then '{}' else array[q.value] end, null, q.reason || ': ' || q.message
from legacy_sync.quarantine q where q.entity_id = %(entity)s and q.status = 'open'
  and (q.last_run = %(run)s or q.legacy_key = any(%(waiting)s))
union all
select 'gone', null, b.legacy_key, b.erp_key, '{}', null, null, null, null from legacy_sync.binding b
where b.entity_id = %(entity)s and b.changed_run = %(run)s and b.missing_since is not null and not exists (
  select from legacy_sync.change c where c.entity_id = b.entity_id and c.legacy_key = b.legacy_key
    and c.run_id = %(run)s and c.kind = 'delete')
"""


def read_rows(
    connection: psycopg.Connection, entity_id: int, run_id: int, waiting: Sequence[str], limit: int | None
) -> Iterator[PlannedRow]:
    """All rows of a run, or so many that every action is seen; a portion at a time in memory.

    `waiting` are keys of records that are parked as they were before.
    """
    query = _ROWS
    if limit is not None:
        query = (
            'select action, "table", legacy_key, erp_key, columns, old, new, policies, reason from'
            f" (select r.*, row_number() over (partition by action order by legacy_key) as n from ({_ROWS}) r) r"
            " order by n, action limit %(limit)s"
        )
    with connection.cursor(name="ls_planned", row_factory=class_row(PlannedRow)) as cursor:
        cursor.itersize = 2_000
        cursor.execute(query, {"entity": entity_id, "run": run_id, "waiting": list(waiting), "limit": limit})
        yield from cursor
