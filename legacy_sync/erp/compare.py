"""Where do the records of the source and the rows of the ERP differ? Set-based; nothing is decided.

`ls_key` has the keys of all records, `ls_difference` a row for each difference found. The kinds are those of
`sync/differences.py`; `take` stands for a value of the source that a load would write, until it is known whether the
next run reads the record (`settle`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from legacy_sync.erp import plan
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import encode
from legacy_sync.ledger.quarantine import Parked
from legacy_sync.mapping.model import Mapping

BUCKETS = 64
_WAITS_FOR_PARENT = ("reference_missing", "no_erp_row")
_NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
_TABLES = """
create temp table ls_received (_key text, is_due boolean);
create temp table ls_seen (_key text primary key);
create temp table ls_difference (kind text not null, legacy_key text, erp_key text, column_name text,
  legacy_value text, erp_value text, why text)
"""


def begin(connection: psycopg.Connection, shape: Shape) -> None:
    """Creates the temporary tables of one comparison; the caller's transaction is rolled back and they go with it."""
    connection.execute(_TABLES)
    sums = sql.SQL("").join(
        sql.SQL(", {} numeric, {} numeric").format(sql.Identifier(f"l_{c}"), sql.Identifier(f"e_{c}"))
        for c in numbers_of(shape)
    )
    connection.execute(
        sql.SQL(
            "create temp table ls_bucket (bucket integer, rows bigint, legacy_hash numeric, erp_hash numeric{})"
        ).format(sums)
    )


def numbers_of(shape: Shape) -> list[str]:
    """The mapped columns whose sums mean something: numbers that are no references."""
    return [
        name
        for name, field in shape.mapping.fields.items()
        if shape.table.columns[name].type in _NUMBERS and field.reference is None
    ]


# --- keys ----------------------------------------------------------------------------------------


def copy_keys(connection: psycopg.Connection, keys: pa.Array, due: pa.Array) -> None:
    """Adds the keys of some records, and whether the next run reads them."""
    encoded = encode(pa.RecordBatch.from_arrays([keys, due], ["_key", "is_due"]))
    with connection.cursor() as cursor, cursor.copy("copy ls_received from stdin (format csv)") as copy:
        copy.write(encoded)


def find_by_key(connection: psycopg.Connection, shape: Shape, *, is_complete: bool) -> None:
    """Everything that keys alone tell. What is not in the list is gone only if the list `is_complete`."""
    connection.execute(
        "create temp table ls_key as select _key, bool_or(is_due) as is_due from ls_received"
        " where _key <> '' group by _key"
    )
    connection.execute("create unique index on ls_key (_key)")
    connection.execute("analyze ls_key")
    values = {
        "entity": shape.entity_id,
        "parents": list(_WAITS_FOR_PARENT),
        "policy": _declared(shape.mapping),
        "ignores": shape.mapping.deletes.policy == "ignore",
        "table": shape.table.name,
        "target": shape.mapping.target.table,
    }
    names = {"erp": shape.erp, "pk": shape.pk, "type": shape.pk_type, "label": _label_of_row(shape)}
    connection.execute(sql.SQL(_MISSING).format(**names), values)
    connection.execute(_PARKED, values)
    if is_complete:
        connection.execute(sql.SQL(_GONE).format(**names), values)
    if shape.mapping.target.rows == "all":
        connection.execute(sql.SQL(_UNBOUND).format(**names), values)


_INSERT = "insert into ls_difference (kind, legacy_key, erp_key, column_name, legacy_value, why) "
# A binding whose record was gone and whose row was deleted for that is none: a record that came back is new.
_MISSING = (
    _INSERT
    + """
select case when q.status = 'discarded' then 'discarded' when c.status = 'open' then 'conflict'
    when c.winner = 'erp' then 'discarded' when b.erp_key is not null and b.missing_since is null then 'erp_row_deleted'
    when k.is_due then 'new' else 'not_loaded' end,
  k._key, b.erp_key, null, null, case when q.status = 'discarded' then q.comment
    when c.status = 'open' then format('conflict %%s is open: deleted in the ERP, and the record changed', c.id)
    when c.winner = 'erp' then concat_ws(': ', 'deleted in the ERP, and decided so by ' || c.decided_by, c.comment)
    when b.missing_since is not null
    then 'its record was gone since ' || b.missing_since::date || ', and came back' else q.message end
from ls_key k
left join legacy_sync.binding b on b.entity_id = %(entity)s and b.legacy_key = k._key
left join {erp} e on e.{pk} = b.erp_key::{type}
left join lateral (select * from legacy_sync.quarantine q where q.entity_id = %(entity)s and q.legacy_key = k._key
  and q.status in ('open', 'discarded') order by q.id desc limit 1) q on true
left join lateral (select * from legacy_sync.conflict c where c.entity_id = %(entity)s and c.legacy_key = k._key
  and c.sort = 'gone_in_erp' and c.erp_key = b.erp_key order by c.id desc limit 1) c on true
where e.{pk} is null and q.status is distinct from 'open'
"""
)
_PARKED = (
    _INSERT
    + """
select case when q.reason = any(%(parents)s) and q.value is not null then 'waits_for_parent' else 'parked' end,
  q.legacy_key, null, q.column_name, q.value, q.reason || ': ' || q.message
from legacy_sync.quarantine q where q.entity_id = %(entity)s and q.status = 'open'
"""
)
_GONE = (
    _INSERT
    + """
select case when b.missing_since is not null or %(ignores)s then 'gone_settled' else 'gone' end,
  b.legacy_key, b.erp_key, null, null,
  concat('deletes: ', %(policy)s::text, ', gone since ' || b.missing_since::date)
from legacy_sync.binding b join {erp} e on e.{pk} = b.erp_key::{type}
where b.entity_id = %(entity)s and not exists (select from ls_key k where k._key = b.legacy_key)
"""
)
# Rows of other mappings of the table are known, too, and so are those that a reference has made.
_UNBOUND = (
    _INSERT
    + """
select 'unbound', null, e.{pk}::text, null, null, {label}
from {erp} e where not exists (select from legacy_sync.binding b join legacy_sync.entity n on n.id = b.entity_id
    where split_part(n.name, '.', 1) = %(target)s and b.erp_key = e.{pk}::text)
  and not exists (select from legacy_sync.change c where c.kind = 'create' and c.erp_key = e.{pk}::text
    and c.erp_table in (%(table)s, %(target)s))
"""
)


def _declared(mapping: Mapping) -> str:
    """What the mapping says of records that are gone, in its own words."""
    sets = ", ".join(f"{column}: {value}" for column, value in mapping.deletes.set.items())
    return f"{mapping.deletes.policy} {sets}".strip().lower()


def _label_of_row(shape: Shape) -> sql.Composed:
    """What people know an ERP row by."""
    names = shape.mapping.target.natural_key
    if not names:
        return sql.SQL("null::text").format()
    values = sql.SQL(", ").join(sql.SQL("e.{}").format(sql.Identifier(name)) for name in names)
    return sql.SQL("concat({}::text, ' ', concat_ws(' / ', {}))").format(sql.Literal(", ".join(names)), values)


# --- values --------------------------------------------------------------------------------------


def leave_one_of_each(connection: psycopg.Connection, *, newest: bool) -> None:
    """Of records with the key of one that was compared before, one counts, as in a load."""
    if newest:
        connection.execute("delete from ls_difference d using ls_stage s where d.legacy_key = s._key")
    else:
        connection.execute("delete from ls_stage s using ls_seen x where x._key = s._key")
    connection.execute("insert into ls_seen select distinct _key from ls_stage on conflict do nothing")


def compare_stage(connection: psycopg.Connection, shape: Shape) -> None:
    """Compares the staged rows with their ERP rows: by bucket first, then each value of the buckets that differ."""
    _leave_differing(connection, shape)
    plan.classify(connection, shape)
    if plan.count_decisions(connection):
        plan.compare_cells(connection, shape)
        connection.execute(_cells(shape))


def _leave_differing(connection: psycopg.Connection, shape: Shape) -> None:
    """Adds up both sides by bucket, and takes all rows out of the stage that need no closer look."""
    sums = [name for column in numbers_of(shape) for name in (f"l_{column}", f"e_{column}")]
    connection.execute("drop table if exists ls_sum")
    connection.execute(
        sql.SQL(
            "create temp table ls_sum as select r.bucket, count(*) as rows,"
            " sum(r.legacy_hash::numeric) as legacy_hash, sum(r.erp_hash::numeric) as erp_hash{sums}"
            " from (select {bucket} as bucket, {legacy} as legacy_hash, {erp_hash} as erp_hash{values} from ls_stage s"
            "  join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = s._key"
            "  join {erp} e on e.{pk} = b.erp_key::{type}) r group by r.bucket"
        ).format(
            sums=sql.SQL("").join(sql.SQL(", sum(r.{0}) as {0}").format(sql.Identifier(n)) for n in sums),
            bucket=_BUCKET,
            legacy=_hash(shape.effective(c, _erp(c)) for c in shape.columns),
            erp_hash=_hash(_erp(c) for c in shape.columns),
            values=sql.SQL("").join(
                sql.SQL(", ({})::numeric as {}, e.{}::numeric as {}").format(
                    shape.effective(c, _erp(c)), sql.Identifier(f"l_{c}"), sql.Identifier(c), sql.Identifier(f"e_{c}")
                )
                for c in numbers_of(shape)
            ),
            entity=sql.Literal(shape.entity_id),
            erp=shape.erp,
            pk=shape.pk,
            type=shape.pk_type,
        )
    )
    connection.execute("insert into ls_bucket select * from ls_sum")
    connection.execute(
        sql.SQL(
            "delete from ls_stage s where {} not in (select bucket from ls_sum where legacy_hash <> erp_hash)"
        ).format(_BUCKET)
    )
    connection.execute(  # what has no row in the ERP is told by its key
        sql.SQL(
            "delete from ls_stage s where not exists (select from legacy_sync.binding b"
            " join {erp} e on e.{pk} = b.erp_key::{type} where b.entity_id = {entity} and b.legacy_key = s._key)"
        ).format(erp=shape.erp, pk=shape.pk, type=shape.pk_type, entity=sql.Literal(shape.entity_id))
    )


_BUCKET = sql.SQL("(hashtext(s._key) & {})").format(sql.Literal(BUCKETS - 1))


def _hash(values: Iterator[sql.Composed]) -> sql.Composed:
    """A hash of a row's key and values, such that sums of them differ if any row does."""
    texts = sql.SQL(", ").join([sql.SQL("s._key"), *(sql.SQL("({})::text").format(value) for value in values)])
    return sql.SQL("hash_array_extended(array[{}], 0)").format(texts)


def _erp(column: str) -> sql.Composed:
    return sql.SQL("e.{}").format(sql.Identifier(column))


def _cells(shape: Shape) -> sql.Composed:
    """The statement that notes every differing value, and why it differs."""
    return sql.SQL(
        "insert into ls_difference"
        " select case c.outcome when 'keep' then 'edited' when 'wait' then 'conflict' else 'take' end,"
        "  c._key, c.erp_key, c.column_name, c.staged, c.erp,"
        "  case when k.id is not null then format('conflict %s is open', k.id)"
        "   when c.is_conflict then concat('both sides changed it since ', {base}, ', the policy is ', c.policy)"
        "   when c.outcome = 'keep' then concat({edit}, ', both sides last agreed on ', {base})"
        "   else concat('it was ', {base}, ' when it was loaded last') end"
        " from ls_cell c join {erp} e on e.{pk}::text = c.erp_key"
        " join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = c._key"
        " left join legacy_sync.run r on r.id = b.changed_run"
        " left join legacy_sync.conflict k on k.entity_id = {entity} and k.legacy_key = c._key"
        "  and k.column_name = c.column_name and k.status = 'open'"
    ).format(
        edit=_edit(shape),
        base=sql.SQL("coalesce('\"' || c.base || '\"', 'null')"),
        erp=shape.erp,
        pk=shape.pk,
        entity=sql.Literal(shape.entity_id),
    )


def _edit(shape: Shape) -> sql.Composed:
    """How the ERP row came to its value, as far as its own time of writing tells."""
    at = shape.mapping.target.updated_at
    if not at:
        return sql.SQL("'edited in the ERP'").format()
    return sql.SQL(
        "case when e.{0} > coalesce(r.finished_at, r.started_at)"
        " then 'edited in the ERP, saved there ' || to_char(e.{0}, 'YYYY-MM-DD HH24:MI')"
        " else concat('changed in the ERP without a new ', {1}::text) end"
    ).format(sql.Identifier(at), sql.Literal(at))


def note_unusable(connection: psycopg.Connection, shape: Shape, parked: Sequence[Parked]) -> None:
    """Bound records that a load would refuse now, and that are not known to wait."""
    connection.execute("create temp table if not exists ls_refused (_key text, column_name text, value text, why text)")
    with connection.cursor() as cursor, cursor.copy("copy ls_refused from stdin") as copy:
        for p in parked:
            value = None if p.value is None else p.value.replace("\x00", "\\0")
            copy.write_row((p.legacy_key, p.column, value, p.message.replace("\x00", "\\0")))
    connection.execute("insert into ls_refused select _key, column_name, value, message from ls_parked")
    connection.execute(
        "insert into ls_difference select 'take', b.legacy_key, b.erp_key, f.column_name, f.value, null,"
        "  'cannot be used: ' || f.why"
        " from ls_refused f join legacy_sync.binding b on b.entity_id = %(entity)s and b.legacy_key = f._key"
        " where not exists (select from legacy_sync.quarantine q where q.entity_id = %(entity)s"
        "  and q.legacy_key = f._key and q.status in ('open', 'discarded'))",
        {"entity": shape.entity_id},
    )
    connection.execute("truncate ls_refused")


# --- results -------------------------------------------------------------------------------------


def settle(connection: psycopg.Connection, shape: Shape) -> None:
    """Says of values that a load would write whether the next run does, and of kept ones whether people wrote them."""
    connection.execute(
        "update ls_difference d set kind = case when k.is_due then 'lag' else 'differs' end"
        " from ls_key k where d.kind = 'take' and k._key = d.legacy_key"
    )
    values = {"entity": shape.entity_id, "table": shape.table.name, "target": shape.mapping.target.table}
    if connection.execute("select from ls_difference where kind = 'edited' limit 1").rowcount:
        connection.execute("analyze ls_difference")
        connection.execute(_OTHER_WRITERS, values)
    connection.execute("create index on ls_difference (kind, legacy_key)")


# What the ERP has is what another entity of the table has agreed on, or what a side effect of a load wrote last.
_OTHER_WRITERS = """
update ls_difference d set kind = 'other_writer', why = 'written by ' || w.name
from (
  select d.erp_key, d.column_name, d.erp_value, min(n.name) as name
  from ls_difference d join legacy_sync.binding b on b.erp_key = d.erp_key and b.entity_id <> %(entity)s
  join legacy_sync.entity n on n.id = b.entity_id and split_part(n.name, '.', 1) = %(target)s
  join legacy_sync.column_set c on c.id = b.column_set_id and d.column_name = any(c.names)
  where d.kind = 'edited'
    and (coalesce(b.erp_base, b.base))[array_position(c.names, d.column_name)] is not distinct from d.erp_value
  group by 1, 2, 3
  union all
  (select distinct on (d.erp_key, d.column_name) d.erp_key, d.column_name, d.erp_value, n.name || ' (' || c.kind || ')'
  from ls_difference d join legacy_sync.change c on c.erp_key = d.erp_key and d.column_name = any(c.columns)
    and c.erp_table in (%(table)s, %(target)s) and c.kind in ('backfill', 'derive', 'refresh', 'relink')
    and c.after[array_position(c.columns, d.column_name)] is not distinct from d.erp_value
  join legacy_sync.entity n on n.id = c.entity_id
  where d.kind = 'edited' order by d.erp_key, d.column_name, c.id desc)
) w
where d.kind = 'edited' and d.erp_key = w.erp_key and d.column_name = w.column_name
"""


def count_rows(connection: psycopg.Connection) -> dict[str, tuple[int, int]]:
    """Kind -> rows and values."""
    rows = connection.execute(
        "select kind, count(distinct coalesce(legacy_key, erp_key)), count(*) filter (where column_name is not null)"
        " from ls_difference group by 1"
    )
    return {str(kind): (int(rows), int(cells)) for kind, rows, cells in rows.fetchall()}


def read_numbers(connection: psycopg.Connection, shape: Shape) -> tuple[int, int, int, int]:
    """How many records were read, keys there are, rows are bound and rows the ERP table has."""
    row = connection.execute(
        sql.SQL(
            "select (select count(*) from ls_received), (select count(*) from ls_key),"
            " (select count(*) from legacy_sync.binding where entity_id = {} and missing_since is null),"
            " (select count(*) from {})"
        ).format(sql.Literal(shape.entity_id), shape.erp)
    ).fetchone()
    assert row is not None  # a select without from always has a row
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])


def read_buckets(connection: psycopg.Connection) -> tuple[int, int, int]:
    """Compared rows, buckets, and the buckets in which rows differ."""
    row = connection.execute(
        "select coalesce(sum(rows), 0), count(*), count(*) filter (where legacy_hash <> erp_hash) from"
        " (select bucket, sum(rows) as rows, sum(legacy_hash) as legacy_hash, sum(erp_hash) as erp_hash"
        "  from ls_bucket group by bucket) b"
    ).fetchone()
    assert row is not None  # an aggregate always has a row
    return int(row[0]), int(row[1]), int(row[2])


def read_sums(connection: psycopg.Connection, shape: Shape) -> list[tuple[str, Decimal | None, Decimal | None]]:
    """Column, sum of the source, sum of the ERP, over the compared rows."""
    columns = numbers_of(shape)
    if not columns:
        return []
    sums = [sql.SQL("sum({})").format(sql.Identifier(f"{side}_{c}")) for c in columns for side in "le"]
    row: Any = connection.execute(sql.SQL("select {} from ls_bucket").format(sql.SQL(", ").join(sums))).fetchone()
    return [(column, row[2 * n], row[2 * n + 1]) for n, column in enumerate(columns)]


def read_differences(
    connection: psycopg.Connection, kinds: Sequence[str], limit: int | None
) -> Iterator[tuple[str | None, ...]]:
    """The differences in the order of these kinds, by key and column; a portion at a time in memory."""
    with connection.cursor(name="ls_differences") as cursor:
        cursor.itersize = 2_000
        cursor.execute(
            "select kind, legacy_key, erp_key, column_name, legacy_value, erp_value, why from ls_difference"
            " where kind = any(%(kinds)s)"
            " order by array_position(%(kinds)s::text[], kind), legacy_key, erp_key, column_name limit %(limit)s",
            {"kinds": list(kinds), "limit": limit},
        )
        yield from cursor


def forget_deleted(connection: psycopg.Connection, shape: Shape) -> int:
    """Forgets which ERP rows records were whose row was deleted there, so that a load makes it anew.

    Records that a person discarded, those that were decided to stay deleted, and those that are gone themselves stay
    as they are. Returns how many.
    """
    return connection.execute(
        sql.SQL(
            "delete from legacy_sync.binding b where b.entity_id = {entity} and b.missing_since is null"
            " and not exists (select from {erp} e where e.{pk} = b.erp_key::{type})"
            " and coalesce((select q.status from legacy_sync.quarantine q where q.entity_id = {entity}"
            "   and q.legacy_key = b.legacy_key and q.status in ('open', 'discarded') order by q.id desc limit 1), '')"
            "  <> 'discarded'"
            " and coalesce((select c.winner from legacy_sync.conflict c where c.entity_id = {entity}"
            "   and c.legacy_key = b.legacy_key and c.sort = 'gone_in_erp' and c.erp_key = b.erp_key"
            "   order by c.id desc limit 1), '') <> 'erp'"
        ).format(entity=sql.Literal(shape.entity_id), erp=shape.erp, pk=shape.pk, type=shape.pk_type)
    ).rowcount
