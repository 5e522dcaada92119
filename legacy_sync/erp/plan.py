"""What is to be done with every staged row? One set-based pass over stage, bindings and ERP rows.

The result is two temporary tables. `ls_plan` has a row for each staged row that is not simply unchanged:
`new`, `adopt` (found by natural key), `differs` (bound, something differs) or `gone` (the ERP row was
deleted there). `ls_cell` has a row for each differing cell of adopted and differing rows with what is
meant: `take` the legacy value (or the one a person chose instead), `keep` the ERP value, or `wait` for a person.
"""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from legacy_sync.erp.catalog import UniqueIndex
from legacy_sync.erp.chosen import stage_chosen_values
from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import CELL, PLAN, forget_parked, park_staged
from legacy_sync.ledger import conflicts


def classify(connection: psycopg.Connection, shape: Shape) -> None:
    """Creates `ls_plan` with all staged rows that are not simply unchanged."""
    new = connection.execute(
        sql.SQL(
            "create temp table ls_plan as select s._row, s._key, {new}::{type} as erp_id, 'new' as decision"
            " from ls_stage s where not exists (select from legacy_sync.binding b"
            "  where b.entity_id = {entity} and b.legacy_key = s._key)"
        ).format(new=new_key(connection, shape), type=shape.pk_type, entity=sql.Literal(shape.entity_id))
    ).rowcount
    row = connection.execute("select count(*) from ls_stage").fetchone()
    if row and row[0] > new:
        _classify_bound(connection, shape)


def _classify_bound(connection: psycopg.Connection, shape: Shape) -> None:
    """Adds the bound rows in which anything differs from the ERP row or from what was last agreed on."""
    same = sql.SQL(" and ").join(
        sql.SQL("{} is not distinct from {}").format(
            shape.comparable(shape.effective(c, _erp(c)), c), shape.comparable(_erp(c), c)
        )
        for c in shape.columns
    )
    connection.execute(
        sql.SQL(
            "insert into ls_plan select s._row, s._key, b.erp_key::{type},"
            "  case when e.{pk} is null then 'gone' else 'differs' end"
            " from ls_stage s join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = s._key"
            " left join {erp} e on e.{pk} = b.erp_key::{type}"
            " where e.{pk} is null or not ({same} and b.erp_base is null and b.missing_since is null"
            "  and b.base is not distinct from {agreed})"
        ).format(
            type=shape.pk_type,
            pk=shape.pk,
            entity=sql.Literal(shape.entity_id),
            erp=shape.erp,
            same=same,
            agreed=shape.base_array(shape.effective(c, _erp(c)) for c in shape.columns),
        )
    )


def count_decisions(connection: psycopg.Connection) -> dict[str, int]:
    """How many rows of the plan have which decision."""
    return {
        str(decision): int(rows)
        for decision, rows in connection.execute("select decision, count(*) from ls_plan group by 1").fetchall()
    }


def drop_older(connection: psycopg.Connection, shape: Shape, fetched: list[int]) -> int:
    """Forgets staged copies read before the copy that was taken in or parked last; returns how many."""
    newest = connection.execute("select newest from legacy_sync.entity where id = %s", [shape.entity_id]).fetchone()
    if newest and min(fetched) >= newest[0]:
        return 0
    values = {"entity": shape.entity_id, "fetched": fetched}
    bound = connection.execute(
        "delete from ls_stage s using legacy_sync.binding b"
        " where b.entity_id = %(entity)s and b.legacy_key = s._key"
        "  and b.fetched > (%(fetched)s::bigint[])[(s._row >> 32) + 1]",
        values,
    ).rowcount
    parked = connection.execute(
        "delete from ls_stage s using legacy_sync.quarantine q"
        " where q.entity_id = %(entity)s and q.status in ('open', 'watching') and q.legacy_key = s._key"
        "  and q.fetched > (%(fetched)s::bigint[])[(s._row >> 32) + 1]",
        values,
    ).rowcount
    return bound + parked


def find_emptied(connection: psycopg.Connection, shape: Shape, columns: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Of these columns, for which staged values differ from the base: how many bound rows that is, and of how many."""
    found = {}
    for column in columns:
        row = connection.execute(
            sql.SQL(
                "select count(*) filter (where {base} is distinct from {staged}::text), count(*) from ls_stage s"
                " join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = s._key where {known}"
            ).format(
                base=shape.base_of(column),
                staged=shape.staged(column),
                entity=sql.Literal(shape.entity_id),
                known=shape.has_base(column),
            )
        ).fetchone()
        if row:
            found[column] = (int(row[0]), int(row[1]))
    return found


def adopt(connection: psycopg.Connection, shape: Shape) -> None:
    """New rows that are in the ERP already, by natural key, become `adopt`; ambiguous ones are parked."""
    if not shape.mapping.target.natural_key:
        return
    same = sql.SQL(" and ").join(
        sql.SQL("e.{} = {}").format(sql.Identifier(c), shape.staged(c)) for c in shape.mapping.target.natural_key
    )
    connection.execute(
        sql.SQL(
            "create temp table ls_known as"
            " select p._row, min(e.{pk}::text) as erp_key, count(*) as n"
            " from ls_plan p join ls_stage s using (_row) join {erp} e on {same}"
            " where p.decision = 'new' group by p._row"
        ).format(pk=shape.pk, erp=shape.erp, same=same)
    )
    names = ", ".join(shape.mapping.target.natural_key)
    select = sql.SQL(
        "select s._row, s._key, 'adoption_ambiguous', {names}, null,"
        " format('%s rows of the ERP have the same %s', k.n, {names})"
        " from ls_known k join ls_stage s using (_row) where k.n > 1"
    ).format(names=sql.Literal(names))
    if park_staged(connection, select):
        forget_parked(connection, PLAN)
    connection.execute(
        sql.SQL(
            "update ls_plan p set decision = 'adopt', erp_id = k.erp_key::{type}"
            " from (select distinct on (erp_key) * from ls_known where n = 1 order by erp_key, _row) k"
            " where k._row = p._row and not exists (select 1 from legacy_sync.binding b"
            "  where b.entity_id = {entity} and b.erp_key = k.erp_key and b.missing_since is null)"
        ).format(type=shape.pk_type, entity=sql.Literal(shape.entity_id))
    )
    if shape.mapping.target.rows == "existing":
        _park_homeless(connection, shape)
    former = connection.execute(  # a record that is gone gives its row to the one that took its place
        "delete from legacy_sync.binding b using ls_plan p"
        " where p.decision = 'adopt' and b.entity_id = %s and b.erp_key = p.erp_id::text returning b.legacy_key",
        [shape.entity_id],
    ).fetchall()
    keys = [key for (key,) in former]
    conflicts.settle(connection, shape.entity_id, keys, ("value", "gone_in_legacy"))


def _park_homeless(connection: psycopg.Connection, shape: Shape) -> None:
    """Rows of a mapping that never inserts wait until the ERP has their row."""
    names = shape.mapping.target.natural_key
    value = sql.SQL("concat_ws(' / ', {})").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(shape.staged(c)) for c in names)
    )
    select = sql.SQL(
        "select s._row, s._key, 'no_erp_row', {label}, {value},"
        " format('no free row of %s has %s = \"%s\"', {table}::text, {label}::text, {value})"
        " from ls_plan p join ls_stage s using (_row) where p.decision = 'new'"
    ).format(label=sql.Literal(", ".join(names)), value=value, table=sql.Literal(shape.table.name))
    if park_staged(connection, select):
        forget_parked(connection, PLAN)


def lock_rows(connection: psycopg.Connection, shape: Shape) -> None:
    """Locks the ERP rows that may be written, in key order, so that nobody's edit slips in between."""
    connection.execute(
        sql.SQL(
            "select 1 from {erp} e where e.{pk} in"
            " (select erp_id from ls_plan where decision in ('differs', 'adopt')) order by e.{pk} for no key update"
        ).format(erp=shape.erp, pk=shape.pk)
    )


def compare_cells(connection: psycopg.Connection, shape: Shape) -> None:
    """Fills `ls_cell`: every differing cell of adopted and differing rows, and what is meant with it."""
    cells = sql.SQL(", ").join(_cell(shape, column) for column in shape.columns)
    connection.execute(
        sql.SQL(
            "insert into ls_cell"
            " select p._row, p._key, p.erp_id::text, v.column_name, v.staged, v.erp, v.base, v.erp_base,"
            "  case when {is_first} then {adoption} else v.policy end, {outcome},"
            "  not {is_first} and v.staged is distinct from v.base and v.erp is distinct from v.erp_base,"
            "  {is_first}, k.id, k.legacy_value, k.erp_value, case when {is_chosen} then k.choice end,"
            "  k.chosen_value, k.chosen_by"
            " from ls_plan p join ls_stage s using (_row) join {erp} e on e.{pk} = p.erp_id"
            " left join legacy_sync.binding b on b.entity_id = {entity} and b.legacy_key = p._key"
            " cross join lateral (values {cells})"
            "  v(column_name, policy, staged, erp, base, erp_base, known, is_kept)"
            " left join {conflicts} k on k.entity_id = {entity} and k.legacy_key = p._key"
            "  and k.column_name = v.column_name and k.status = 'open'"
            " where p.decision in ('differs', 'adopt') and not v.is_kept and v.staged is distinct from v.erp"
        ).format(
            is_first=_IS_FIRST,
            is_chosen=_IS_CHOSEN,
            adoption=sql.Literal(shape.mapping.adoption.policy),
            outcome=_outcome(shape),
            erp=shape.erp,
            pk=shape.pk,
            entity=sql.Literal(shape.entity_id),
            cells=cells,
            conflicts=_open_conflicts(connection, shape),
        )
    )
    if stage_chosen_values(connection, shape):
        connection.execute("update ls_cell set outcome = 'take' where outcome = 'set'")
    connection.execute("create index on ls_cell (_row)")
    connection.execute("analyze ls_cell")


# The two sides never agreed on a value: found in the ERP, or mapped, for the first time, and not decided since.
_IS_FIRST = sql.SQL("(p.decision = 'adopt' or not v.known or coalesce(k.is_first, false))")
# A person chose, and both sides have the values that were chosen from.
_IS_CHOSEN = sql.SQL(
    "(k.choice is not null and v.staged is not distinct from k.legacy_value and v.erp is not distinct from k.erp_value)"
)


def _open_conflicts(connection: psycopg.Connection, shape: Shape) -> sql.SQL:
    """The conflicts of the entity; no table at all where none is open, so that the others need no look at it."""
    row = connection.execute(
        "select exists (select from legacy_sync.conflict where entity_id = %s and status = 'open')", [shape.entity_id]
    ).fetchone()
    return sql.SQL("legacy_sync.conflict" if row and row[0] else "(select * from legacy_sync.conflict limit 0)")


def _cell(shape: Shape, column: str) -> sql.Composed:
    base = shape.base_of(column)
    return sql.SQL("({name}, {policy}, {staged}::text, {erp}::text, {base}, {erp_base}, {known}, {kept})").format(
        name=sql.Literal(column),
        policy=sql.Literal(shape.mapping.policy_of(column)),
        staged=shape.staged(column),
        erp=_erp(column),
        base=base,
        erp_base=sql.SQL("case when b.erp_base is null then {} else {} end").format(
            base, shape.base_of(column, "erp_base")
        ),
        known=shape.has_base(column),
        kept=shape.is_kept(column),
    )


def _outcome(shape: Shape) -> sql.Composed:
    """The three-way decision of one cell; a column that was not mapped before is adopted like a new row."""
    adoption = {"legacy_wins": "take", "erp_wins": "keep", "manual": "wait"}[shape.mapping.adoption.policy]
    updated_at = shape.mapping.target.updated_at
    newest: sql.Composable = sql.SQL("'wait'")
    if updated_at and any(shape.mapping.policy_of(c) == "newest_wins" for c in shape.columns):
        # Django's save of single columns leaves the time alone: one not after our own write says nothing of the edit
        newest = sql.SQL(
            "case when s._modified is null or e.{0} is null or e.{0} <= coalesce((select r.finished_at"
            "   from legacy_sync.run r where r.id = b.changed_run), now()) then 'wait'"
            "  when s._modified >= e.{0} then 'take' else 'keep' end"
        ).format(sql.Identifier(updated_at))
    return sql.SQL(
        "case when {chosen} then case k.choice when 'legacy' then 'take' when 'erp' then 'keep' else 'set' end"
        " when {first} then {adoption}"
        " when v.staged is not distinct from v.base then 'keep'"
        " when v.erp is not distinct from v.erp_base then 'take'"
        " when v.policy = 'legacy_wins' then 'take'"
        " when v.policy = 'erp_wins' then 'keep'"
        " when v.policy = 'newest_wins' then {newest}"
        " else 'wait' end"
    ).format(chosen=_IS_CHOSEN, first=_IS_FIRST, adoption=sql.Literal(adoption), newest=newest)


def park_unfit_inserts(connection: psycopg.Connection, shape: Shape) -> int:
    """New rows whose reference or required value was not delivered are parked, where they may not be without it."""
    parked = _park_undelivered(connection, shape)
    for name, rule in shape.mapping.fields.items():
        if not rule.reference or name not in shape.kept:
            continue
        if not rule.reference.parks_blank and shape.table.columns[name].nullable:
            continue
        select = sql.SQL(
            "select s._row, s._key, 'reference_missing', {label}, null,"
            " {label} || ': the record does not carry its reference'"
            " from ls_plan p join ls_stage s using (_row)"
            " where p.decision = 'new' and {kept} and s.{name} is null"
        ).format(label=sql.Literal(name), kept=shape.is_kept(name), name=sql.Identifier(name))
        parked += park_staged(connection, select)
    parked += _park_strangers(connection, shape)
    if parked:
        forget_parked(connection, PLAN)
    return parked


def _park_strangers(connection: psycopg.Connection, shape: Shape) -> int:
    """New rows whose plain column refers to a row that the ERP does not have; the database would say so one by one."""
    parked = 0
    for key in shape.table.foreign_keys:
        name, is_plain = key.column, key.column in shape.columns and not shape.mapping.fields[key.column].reference
        if not is_plain or key.to_table == shape.table.name or not _is_visible(connection, key.to_table):
            continue
        select = sql.SQL(
            "select s._row, s._key, 'reference_missing', {label}, ({value})::text,"
            " format('%s: %s has no row with %s \"%s\"', {label}, {table}, {column}, {value})"
            " from ls_plan p join ls_stage s using (_row) where p.decision = 'new' and {value} is not null"
            " and not exists (select from {parent} r where r.{to} = {value})"
        ).format(
            label=sql.Literal(name),
            value=shape.fresh(name),
            table=sql.Literal(key.to_table),
            column=sql.Literal(key.to_column),
            parent=sql.Identifier(key.to_table),
            to=sql.Identifier(key.to_column),
        )
        parked += park_staged(connection, select)
    return parked


def _is_visible(connection: psycopg.Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(quote_ident(%s)) is not null", [table]).fetchone()
    return bool(row and row[0])


def _park_undelivered(connection: psycopg.Connection, shape: Shape) -> int:
    parked = 0
    for name in (n for n, rule in shape.mapping.fields.items() if rule.required and n in shape.kept):
        select = sql.SQL(
            "select s._row, s._key, 'required', {label}, null, {label} || ' is required, and was not delivered'"
            " from ls_plan p join ls_stage s using (_row)"
            " where p.decision = 'new' and {kept} and coalesce(({value})::text, '') = ''"
        ).format(label=sql.Literal(name), kept=shape.is_kept(name), value=shape.fresh(name))
        parked += park_staged(connection, select)
    return parked


def park_duplicates(connection: psycopg.Connection, shape: Shape) -> int:
    """Rows that would break a unique index are parked: the later of two in the batch, or against other ERP rows.

    A parked row keeps its old value, which another row may have counted on: so until nothing is parked any more.
    """
    indexes = [i for i in (*shape.table.uniques, *_natural(shape)) if any(c in shape.columns for c in i.columns)]
    parked = 0
    while more := sum(_park_index(connection, shape, index) for index in indexes):
        parked += more
    return parked


def _natural(shape: Shape) -> tuple[UniqueIndex, ...]:
    """The natural key, where the database does not keep it unique: two records never make two rows of one key."""
    key = shape.mapping.target.natural_key
    is_kept = any(not index.predicate and set(index.columns) <= set(key) for index in shape.table.uniques)
    return () if is_kept or not key else (UniqueIndex("natural key", key, None),)


def _park_index(connection: psycopg.Connection, shape: Shape, index: UniqueIndex) -> int:
    names = sql.SQL(", ").join(map(sql.Identifier, index.columns))
    filled = sql.SQL(" and ").join(sql.SQL("c.{} is not null").format(sql.Identifier(c)) for c in index.columns)
    same = sql.SQL(" and ").join(sql.SQL("e.{0} = c.{0}").format(sql.Identifier(c)) for c in index.columns)
    predicate = sql.SQL(" and ({})").format(sql.SQL(index.predicate)) if index.predicate else sql.SQL("").format()
    candidates = sql.SQL("(select * from ({}) c where {}{})").format(final_values(shape, index), filled, predicate)
    value = sql.SQL("concat_ws(' / ', {})").format(
        sql.SQL(", ").join(sql.SQL("c.{}").format(sql.Identifier(c)) for c in index.columns)
    )
    described = sql.Literal(", ".join(index.columns))
    inside = sql.SQL(
        "select c._row, c._key, 'duplicate', {described}, {value},"
        " format('another record of this batch has the same %s \"%s\"', {described}::text, {value})"
        " from (select *, row_number() over (partition by {names} order by (_decision = 'new'), _row) as _n"
        "  from {candidates} c) c where c._n > 1"
    ).format(described=described, value=value, names=names, candidates=candidates)
    against = sql.SQL(
        "select c._row, c._key, 'duplicate', {described}, {value},"
        " format('row %s of the ERP has the same %s \"%s\"', e.{pk}, {described}::text, {value})"
        " from {candidates} c join {erp} e on {same} where e.{pk} is distinct from c._erp_id{predicate}"
        "  and not exists (select 1 from ls_cell x where x.erp_key = e.{pk}::text and x.outcome = 'take'"
        "   and x.column_name = any({list}))"
    ).format(
        candidates=candidates,
        described=described,
        value=value,
        pk=shape.pk,
        erp=shape.erp,
        same=same,
        predicate=_qualified(index, shape),
        list=sql.Literal(list(index.columns)),
    )
    parked = park_staged(connection, inside) if _may_be_double(connection, shape, index) else 0
    parked += park_staged(connection, against)
    if parked:
        forget_parked(connection, PLAN, CELL)
    return parked


def _may_be_double(connection: psycopg.Connection, shape: Shape, index: UniqueIndex) -> bool:
    """A cheap first look at the staged values alone."""
    if any(c not in shape.columns or c in shape.kept for c in index.columns):
        return True
    names = sql.SQL(", ").join(map(sql.Identifier, index.columns))
    row = connection.execute(
        sql.SQL("select exists (select from ls_stage group by {} having count(*) > 1)").format(names)
    ).fetchone()
    return bool(row and row[0])


def _qualified(index: UniqueIndex, shape: Shape) -> sql.Composed:
    if not index.predicate:
        return sql.SQL("").format()
    return sql.SQL(" and e.{pk} in (select {pk} from {erp} where {predicate})").format(
        pk=shape.pk,
        erp=shape.erp,
        predicate=sql.SQL(index.predicate),
    )


def final_values(shape: Shape, index: UniqueIndex) -> sql.Composed:
    """The final values of every row that is new or changes a column of the index, under the table's column names."""
    needed = index.looked_at
    own = [c for c in needed if c in shape.columns]
    others = [c for c in needed if c not in shape.columns and c != shape.key.name]
    fresh = [sql.SQL("{} as {}").format(shape.fresh(c), sql.Identifier(c)) for c in own]
    fresh += [sql.SQL("{} as {}").format(shape.constant(c), sql.Identifier(c)) for c in others]
    changed = [
        sql.SQL("case when {} = any(t.columns) then {} else {} end as {}").format(
            sql.Literal(c), shape.staged(c), _erp(c), sql.Identifier(c)
        )
        for c in own
    ]
    changed += [sql.SQL("{} as {}").format(_erp(c), sql.Identifier(c)) for c in others]
    return sql.SQL(
        "select p._row, p._key, p.decision as _decision, null::{type} as _erp_id, {fresh}"
        " from ls_plan p join ls_stage s using (_row) where p.decision = 'new'"
        " union all"
        " select p._row, p._key, p.decision, p.erp_id, {changed}"
        " from ls_plan p join ls_stage s using (_row) join {erp} e on e.{pk} = p.erp_id"
        " join (select _row, array_agg(column_name) as columns from ls_cell where outcome = 'take' group by _row) t"
        "  on t._row = p._row and t.columns && {indexed}::text[]"
        " where p.decision in ('differs', 'adopt')"
    ).format(
        type=shape.pk_type,
        fresh=sql.SQL(", ").join(fresh),
        changed=sql.SQL(", ").join(changed),
        erp=shape.erp,
        pk=shape.pk,
        indexed=sql.Literal(list(index.columns)),
    )


def _erp(column: str) -> sql.Composed:
    return sql.SQL("e.{}").format(sql.Identifier(column))


def new_key(connection: psycopg.Connection, shape: Shape) -> sql.Composed:
    """An expression that yields a new primary key; sequences stay ahead because it asks them."""
    if shape.key.type == "uuid":
        return sql.SQL("gen_random_uuid()").format()
    row = connection.execute(
        "select pg_get_serial_sequence(%s, %s)", [shape.erp.as_string(connection), shape.key.name]
    ).fetchone()
    return sql.SQL("nextval({})").format(sql.Literal(row[0] if row else None))
