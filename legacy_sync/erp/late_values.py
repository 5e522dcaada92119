"""Which values of a staged row are known only in the database?

Suffixes depend on all rows of the table, compositions on references and other tables, and some of pyERP's rules
on the ERP row itself. All are filled in before anything is decided.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psycopg
from psycopg import sql

from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import keep_column, park_staged
from legacy_sync.mapping.model import ComposePart, Composition, Suffix
from legacy_sync.pyerp import ERP_RULES

Own = Callable[[str], sql.Composed]
"""A column of the row itself, as an expression"""


def fill_late_values(connection: psycopg.Connection, shape: Shape) -> None:
    """Fills suffixes, compositions and rules on the ERP row, in this order; rows left without a value are parked."""
    for number, word in enumerate(shape.mapping.suffixes):
        _assign_suffixes(connection, shape, number, word)
    composed = [name for name, field in shape.mapping.fields.items() if field.compose]
    for name in composed:
        _compose(connection, shape, name)
    _apply_erp_rules(connection, shape)
    for name in composed:
        _park_empty(connection, shape, name)


# --- suffixes ----------------------------------------------------------------------------------


def _assign_suffixes(connection: psycopg.Connection, shape: Shape, number: int, word: Suffix) -> None:
    """Gives every row its number among those with the same values; the ledger keeps it as long as they stay so."""
    place = shape.base_array(shape.staged(c) for c in word.within)
    names = {
        "entity": sql.Literal(shape.entity_id),
        "word": sql.Literal(number),
        "place": place,
        "order": shape.staged(word.order),
    }
    connection.execute(
        sql.SQL(
            "delete from legacy_sync.suffix x using ls_stage s where x.entity_id = {entity} and x.word = {word}"
            " and x.legacy_key = s._key and x.place <> {place}"
        ).format(**names)
    )
    connection.execute(
        sql.SQL(
            "insert into legacy_sync.suffix (entity_id, word, legacy_key, place, number)"
            " select {entity}, {word}, s._key, {place},"
            "  coalesce((select max(x.number) from legacy_sync.suffix x where x.entity_id = {entity}"
            "   and x.word = {word} and x.place = {place}), 0) + row_number() over (partition by {place}"
            "   order by case when {order}::text ~ '^[0-9]{{1,30}}$' then {order}::text::numeric end nulls last,"
            "   {order}::text, s._row)"
            " from ls_stage s where not exists (select from legacy_sync.suffix x where x.entity_id = {entity}"
            "  and x.word = {word} and x.legacy_key = s._key)"
        ).format(**names)
    )
    assignments = [
        sql.SQL("{0} = concat(s.{0}, {1}::text, x.number)").format(sql.Identifier(c), sql.Literal(word.separator))
        for c in word.on
    ]
    assignments += _no_longer_kept(shape, word)
    suffixed = sql.SQL(", ").join(assignments)
    connection.execute(
        sql.SQL(
            "update ls_stage s set {suffixed} from legacy_sync.suffix x where x.entity_id = {entity}"
            " and x.word = {word} and x.legacy_key = s._key and x.number > 1"
        ).format(suffixed=suffixed, **names)
    )


def _no_longer_kept(shape: Shape, word: Suffix) -> list[sql.Composed]:
    """A value that was not delivered has a suffix nevertheless, so the cell does not keep its ERP value."""
    bits: dict[str, int] = {}
    for name in (c for c in word.on if c in shape.kept):
        mask, bit = keep_column(shape.columns.index(name))
        bits[mask] = bits.get(mask, 0) | bit
    return [sql.SQL("{0} = s.{0} & ~{1}::bigint").format(sql.Identifier(m), sql.Literal(b)) for m, b in bits.items()]


# --- compositions ------------------------------------------------------------------------------


def _compose(connection: psycopg.Connection, shape: Shape, name: str) -> None:
    field = shape.mapping.fields[name]
    rows = sql.SQL("ls_stage s").format()
    own: Own = shape.staged
    if shape.kept:  # of what was not delivered the ERP row has the value
        rows += sql.SQL(
            " left join legacy_sync.binding b on b.entity_id = {} and b.legacy_key = s._key"
            " left join {} e on e.{} = b.erp_key::{}"
        ).format(sql.Literal(shape.entity_id), shape.erp, shape.pk, shape.pk_type)
        own = partial(_effective, shape)
    joins, texts = compositions(shape, field.compose, own, rows)
    said = [sql.SQL("nullif(s.{}::text, '')").format(sql.Identifier(name))] if field.origins else []
    default = [] if field.default is None else [sql.SQL("{}::text").format(sql.Literal(str(field.default)))]
    value = sql.SQL("coalesce({})").format(sql.SQL(", ").join([*said, *texts, *default]))
    column = shape.table.columns[name]
    type_ = "text" if column.type in ("varchar", "bpchar") else column.full_type
    connection.execute(
        sql.SQL(
            "update ls_stage s set {name} = x.value::{type} from (select s._row, {value} as value from {rows}{joins}) x"
            " where x._row = s._row and s.{name}::text is distinct from x.value"
        ).format(name=sql.Identifier(name), type=sql.SQL(type_), value=value, rows=rows, joins=joins)
    )


def _effective(shape: Shape, column: str) -> sql.Composed:
    return shape.effective(column, sql.SQL("e.{}").format(sql.Identifier(column)))


def compositions(
    shape: Shape, words: tuple[Composition, ...], own: Own, rows: sql.Composed
) -> tuple[sql.Composed, list[sql.Composed]]:
    """The texts of the alternatives (null where blank) and the joins they need behind `rows`."""
    joins: list[sql.Composed] = []
    texts = [_composition(shape, word, own, rows, joins) for word in words]
    return sql.SQL("").join(joins), texts


def _composition(
    shape: Shape, word: Composition, own: Own, rows: sql.Composed, joins: list[sql.Composed]
) -> sql.Composed:
    values: list[sql.Composed] = []
    pieces: list[sql.Composed] = []
    for part in word.parts:
        if part.text is not None:
            pieces.append(sql.SQL("{}::text").format(sql.Literal(part.text)))
            continue
        value = sql.SQL("nullif(btrim({}::text), '')").format(_column_of(shape, part, own, rows, joins))
        values.append(value)
        pieces.append(
            sql.SQL("({}::text || {} || {}::text)").format(sql.Literal(part.prefix), value, sql.Literal(part.suffix))
        )
    said = sql.SQL("coalesce({})").format(sql.SQL(", ").join(values)) if values else sql.SQL("'x'").format()
    return sql.SQL("case when {} is not null then concat_ws({}::text, {}) end").format(
        said, sql.Literal(word.separator), sql.SQL(", ").join(pieces)
    )


def _column_of(
    shape: Shape, part: ComposePart, own: Own, rows: sql.Composed, joins: list[sql.Composed]
) -> sql.Composed:
    """A column of the row itself, of the row it refers to, or of the only row of another table that fits."""
    column = str(part.column)
    if part.through is None and part.to is None:
        return own(column)
    alias = sql.Identifier(f"j{len(joins)}")
    if part.through:
        reference = shape.mapping.fields[part.through].reference
        assert reference is not None  # the loader refuses `through` a column that is no reference
        joins.append(
            sql.SQL(" left join {to} {alias} on {alias}.{key} = {through}").format(
                to=shape.related.identifier(reference.to),
                alias=alias,
                key=sql.Identifier(shape.related.key_of(reference.to).name),
                through=own(part.through),
            )
        )
    else:
        joins.append(_only_row(shape, part, own, rows, alias))
    return sql.SQL("{}.{}").format(alias, sql.Identifier(column))


def _only_row(shape: Shape, part: ComposePart, own: Own, rows: sql.Composed, alias: sql.Identifier) -> sql.Composed:
    there = [sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in part.where]
    here = [sql.SQL("{}::text").format(own(name)) for name in part.where.values()]
    keys = [sql.Identifier(f"k{n}") for n in range(len(there))]
    first = sql.SQL("{} in (select {} from {})").format(there[0], here[0], rows)
    return sql.SQL(
        " left join (select {keys}, min(t.{column}::text) as {column} from {to} t where {first}"
        "  group by {there} having count(*) = 1) {alias} on {same}"
    ).format(
        keys=sql.SQL(", ").join(sql.SQL("{} as {}").format(t, k) for t, k in zip(there, keys, strict=True)),
        column=sql.Identifier(str(part.column)),
        to=shape.related.identifier(str(part.to)),
        first=first,
        there=sql.SQL(", ").join(there),
        alias=alias,
        same=sql.SQL(" and ").join(sql.SQL("{}.{} = {}").format(alias, k, h) for k, h in zip(keys, here, strict=True)),
    )


def _park_empty(connection: psycopg.Connection, shape: Shape, name: str) -> None:
    field, column = shape.mapping.fields[name], shape.table.columns[name]
    if column.nullable and not field.required:
        return
    select = sql.SQL(
        "select s._row, s._key, 'required', {label}, null, {label} || ' is required; nothing it is made of is known'"
        " from ls_stage s where coalesce(s.{name}::text, '') = ''"
    ).format(label=sql.Literal(name), name=sql.Identifier(name))
    park_staged(connection, select)


# --- rules on the ERP row ----------------------------------------------------------------------


def _apply_erp_rules(connection: psycopg.Connection, shape: Shape) -> None:
    rules = {name: field.erp_rule for name, field in shape.mapping.fields.items() if field.erp_rule}
    if not rules:
        return
    natural = sql.SQL(" and ").join(
        sql.SQL("e.{0} = s.{0}").format(sql.Identifier(c)) for c in shape.mapping.target.natural_key
    )
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = ({})::{}").format(
            sql.Identifier(name), sql.SQL(ERP_RULES[rule]), sql.SQL(shape.table.columns[name].full_type)
        )
        for name, rule in rules.items()
    )
    connection.execute(
        sql.SQL(
            "update ls_stage s set {assignments} from ("
            " select s._row, b.erp_key::{type} as erp_id from ls_stage s join legacy_sync.binding b"
            "   on b.entity_id = {entity} and b.legacy_key = s._key"
            " union all select s._row, min(e.{pk}) from ls_stage s join {erp} e on {natural}"
            "  where not exists (select from legacy_sync.binding b where b.entity_id = {entity}"
            "   and b.legacy_key = s._key) group by s._row having count(*) = 1) x"
            " join {erp} e on e.{pk} = x.erp_id where x._row = s._row"
        ).format(
            assignments=assignments,
            type=shape.pk_type,
            entity=sql.Literal(shape.entity_id),
            pk=shape.pk,
            erp=shape.erp,
            natural=natural,
        )
    )
