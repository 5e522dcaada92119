"""Which ERP row does each reference mean? Set-based lookups; missing and ambiguous ones are parked, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import create_column, lookup_column, park_staged
from legacy_sync.mapping.model import Create, Found, Match, Reference

_BY_KEY = "key "


@dataclass(frozen=True)
class _Wanted:
    """One alternative: what is looked for in which columns of the referenced table, all expressions over s."""

    match: Match
    paths: tuple[str, ...]
    values: tuple[sql.Composed, ...]
    as_text: tuple[bool, ...]
    """whether a value has another type than the column, so that both are compared as texts"""

    @property
    def columns(self) -> list[str]:
        """The columns of `ls_found` that hold the values."""
        return [f"v{n}" for n in range(len(self.values))]

    @property
    def names(self) -> list[sql.Identifier]:
        """The same, to be used behind an alias."""
        return [sql.Identifier(column) for column in self.columns]

    @property
    def is_said(self) -> sql.Composed:
        """SQL condition: the record names a row this way."""
        parts = [sql.SQL("{} is not null").format(value) for value in self.values]
        if len(self.values) == 1:
            parts.append(sql.SQL("{}::text <> ''").format(self.values[0]))
        return sql.SQL(" and ").join(parts)

    @property
    def text(self) -> sql.Composed:
        """The values as one text for people; null where the record says nothing."""
        joined = sql.SQL(", ").join(sql.SQL("{}::text").format(value) for value in self.values)
        return sql.SQL("case when {} then concat_ws(' / ', {}) end").format(self.is_said, joined)

    @property
    def same(self) -> sql.Composed:
        """SQL condition: the row of `ls_found` (alias f) has the values of s."""
        return sql.SQL(" and ").join(
            sql.SQL("f.{} = {}").format(name, value) for name, value in zip(self.names, self.values, strict=True)
        )


def resolve_references(connection: psycopg.Connection, shape: Shape, run_id: int) -> dict[str, dict[str, int]]:
    """Fills every reference column of the stage; returns per column how many rows were linked, and how.

    The numbers are: rows, linked, blank, missing, ambiguous, created, and one `by <column>` per alternative.
    """
    references = {name: rule.reference for name, rule in shape.mapping.fields.items() if rule.reference}
    links = {name: _resolve(connection, shape, name, references[name], run_id) for name in in_order(references)}
    return {name: links[name] for name in references}


def link_staged(connection: psycopg.Connection, shape: Shape, name: str, reference: Reference) -> None:
    """Fills one reference column of the stage by its alternatives, and does nothing else with the rows."""
    tried: list[_Wanted] = []
    for number, match in enumerate(reference.match):
        wanted = _wanted(shape, name, number, match, reference.to)
        _match(connection, shape, name, reference, wanted, tried)
        tried.append(wanted)


def in_order(references: dict[str, Reference]) -> list[str]:
    """The columns so that those whose result another one looks for come first."""
    needs = {
        name: {found.from_column for found in _all_found(reference)} & (references.keys() - {name})
        for name, reference in references.items()
    }
    ordered: list[str] = []
    while len(ordered) < len(needs):
        free = [name for name, before in needs.items() if name not in ordered and before <= set(ordered)]
        ordered += free or [name for name in needs if name not in ordered]
    return ordered


def _all_found(reference: Reference) -> list[Found]:
    created = list(reference.create.values.values()) if reference.create else []
    return [found for match in reference.match for found in match.values.values()] + created


def _resolve(
    connection: psycopg.Connection, shape: Shape, name: str, reference: Reference, run_id: int
) -> dict[str, int]:
    links = {"rows": _count(connection, sql.SQL("select count(*) from ls_stage").format())}
    links |= {"linked": 0, "blank": 0, "missing": 0, "ambiguous": 0}
    tried: list[_Wanted] = []
    for number, match in enumerate(reference.match):
        wanted = _wanted(shape, name, number, match, reference.to)
        linked, ambiguous = _match(connection, shape, name, reference, wanted, tried)
        tried.append(wanted)
        links["linked"] += linked
        links["ambiguous"] += ambiguous
        label = f"by {' + '.join(wanted.paths)}"
        links[label] = links.get(label, 0) + linked
    _keep_named(connection, shape, name, reference.to, tried)
    if reference.create:
        links["created"], linked = _create(connection, shape, name, reference, reference.create, tried, run_id)
        links["linked"] += linked
    links["blank"], links["missing"] = _unmatched(connection, shape, name, reference, tried)
    return links


def _wanted(shape: Shape, name: str, number: int, match: Match, to: str) -> _Wanted:
    values, as_text = [], []
    for i, (path, found) in enumerate(match.values.items()):
        values.append(shape.staged(found.from_column or lookup_column(name, number, i)))
        there = None if match.key else shape.related.column(to, path)
        here = shape.table.columns[found.from_column] if found.from_column else there
        as_text.append(bool(here and there and here.type != there.type))
    return _Wanted(match, tuple(match.values), tuple(values), tuple(as_text))


# --- find and link -----------------------------------------------------------------------------


def _match(
    connection: psycopg.Connection,
    shape: Shape,
    name: str,
    reference: Reference,
    wanted: _Wanted,
    tried: list[_Wanted],
) -> tuple[int, int]:
    """Links by one alternative, after others were `tried`; returns how many were linked and how many ambiguous."""
    _find(connection, shape, name, reference.to, wanted)
    if tried:
        _watch(connection, name, wanted, tried)
    linked = _link(connection, shape, name, wanted) + _keep_link(connection, shape, name, reference.to, wanted)
    described = sql.SQL(
        "select s._row, s._key, 'reference_ambiguous', {label}, {value},"
        " format('%s: %s rows of %s have %s = \"%s\"', {label}::text, f.n, {to}::text, {column}::text, {value})"
        " from ls_stage s join ls_found f on {same} where f.n > 1 and s.{name} is null"
    ).format(
        label=sql.Literal(name),
        value=wanted.text,
        to=sql.Literal(reference.to),
        column=sql.Literal(" + ".join(wanted.paths)),
        same=wanted.same,
        name=sql.Identifier(name),
    )
    if reference.if_ambiguous == "park":
        return linked, park_staged(connection, described)
    left = connection.execute(
        sql.SQL("insert into ls_left_empty select a._row, {} from ({}) a").format(sql.Literal(name), described)
    ).rowcount
    if left:
        connection.execute("analyze ls_left_empty")
    return linked, left


def _find(connection: psycopg.Connection, shape: Shape, name: str, to: str, wanted: _Wanted) -> None:
    """Fills `ls_found`: for each distinct value looked for, the row (`id`, as text) and how many fit (`n`)."""
    values = sql.SQL(", ").join(
        sql.SQL("{} as {}").format(value, alias) for value, alias in zip(wanted.values, wanted.names, strict=True)
    )
    distinct = sql.SQL("(select distinct {} from ls_stage s where {} and {})").format(
        values, _is_open(shape, name), wanted.is_said
    )
    key = sql.Identifier(_pointed_at(shape, name))
    if wanted.match.key:
        query = _by_key(shape, to, wanted, key, distinct)
    elif wanted.match.pick or wanted.match.compare != "equal":
        query = _by_first(shape, to, wanted, key, distinct)
    else:
        query = _by_equal(shape, to, wanted, key, distinct)
    connection.execute("drop table if exists ls_found")
    if connection.execute(sql.SQL("create temp table ls_found as {}").format(query)).rowcount:
        connection.execute("analyze ls_found")


def _is_open(shape: Shape, name: str) -> sql.Composed:
    """SQL condition: the row of the stage is not linked yet, and nobody decided to leave it so."""
    reference = shape.mapping.fields[name].reference
    if reference is None or reference.if_ambiguous == "park":
        return sql.SQL("s.{} is null").format(sql.Identifier(name))
    return sql.SQL(
        "s.{} is null and not exists (select from ls_left_empty x where x._row = s._row and x.column_name = {})"
    ).format(sql.Identifier(name), sql.Literal(name))


def _by_equal(shape: Shape, to: str, wanted: _Wanted, key: sql.Identifier, distinct: sql.Composed) -> sql.Composed:
    source, columns = shape.related.joined(to, list(wanted.paths))
    names = sql.SQL(", ").join(sql.SQL("w.{}").format(name) for name in wanted.names)
    return sql.SQL(
        "select {names}, min(t.{key}::text) as id, count(*) as n from {distinct} w"
        " cross join {source} where {same} group by {names}"
    ).format(
        distinct=distinct,
        names=names,
        key=key,
        source=source,
        same=_equal(wanted, columns),
    )


def _by_first(shape: Shape, to: str, wanted: _Wanted, key: sql.Identifier, distinct: sql.Composed) -> sql.Composed:
    """Of several rows that fit the first: by a column, the longest prefix, or the order of the values."""
    paths = list(wanted.paths)
    pick = wanted.match.pick
    source, columns = shape.related.joined(to, [*paths, pick] if pick else paths)
    column = columns[paths[0]]
    order = sql.SQL("t.{}").format(key)
    condition = _equal(wanted, columns)
    if wanted.match.compare == "prefix":
        condition = sql.SQL("{0} <> '' and starts_with(w.v0::text, {0}::text)").format(column)
        order = sql.SQL("length({}) desc, t.{}").format(column, key)
    elif wanted.match.compare == "any_of":
        source = sql.SQL("unnest(string_to_array(w.v0, E'\\n')) with ordinality a(v, o) cross join ").format() + source
        condition = sql.SQL("{}::text = a.v").format(column)
        order = sql.SQL("a.o, t.{}").format(key)
    if pick:
        order = sql.SQL("{}, {}").format(columns[pick], order)
    return sql.SQL(
        "select w.*, x.id, 1 as n from {distinct} w cross join lateral"
        " (select t.{key}::text as id from {source} where {condition} order by {order} limit 1) x"
    ).format(
        distinct=distinct,
        key=key,
        source=source,
        condition=condition,
        order=order,
    )


def _by_key(shape: Shape, to: str, wanted: _Wanted, key: sql.Identifier, distinct: sql.Composed) -> sql.Composed:
    """By an attribute of the legacy record that the row came from."""
    own, other = shape.key_owners.get((to, str(wanted.match.key)), ((), ()))
    return sql.SQL(
        "select w.v0, min(t.{key}::text) as id, count(distinct t.{key}) as n from {distinct} w join ("
        " select o.value, o.entity_id, o.legacy_key from legacy_sync.other_key o"
        "  where o.entity_id = any({other}) and o.name = {name}"
        " union all select b.legacy_key, b.entity_id, b.legacy_key from legacy_sync.binding b"
        "  where b.entity_id = any({own})) k on k.value = w.v0"
        " join legacy_sync.binding b on b.entity_id = k.entity_id and b.legacy_key = k.legacy_key"
        " join {to} t on t.{primary} = b.erp_key::{type} group by w.v0"
    ).format(
        distinct=distinct,
        key=key,
        other=sql.Literal(list(other)),
        own=sql.Literal(list(own)),
        name=sql.Literal(wanted.match.key),
        to=shape.related.identifier(to),
        primary=sql.Identifier(shape.related.key_of(to).name),
        type=sql.SQL(shape.related.key_of(to).full_type),
    )


def _equal(wanted: _Wanted, columns: dict[str, sql.Composed], alias: str = "w") -> sql.Composed:
    parts = []
    for path, name, as_text in zip(wanted.paths, wanted.columns, wanted.as_text, strict=True):
        value = sql.Identifier(alias, name)
        form = "{}::text = {}::text" if as_text else "{} = {}"
        parts.append(sql.SQL(form).format(columns[path], value))
    return sql.SQL(" and ").join(parts)


def _link(connection: psycopg.Connection, shape: Shape, name: str, wanted: _Wanted) -> int:
    return connection.execute(
        sql.SQL(
            "update ls_stage s set {name} = f.id::{type} from ls_found f where f.n = 1 and {open} and {same}"
        ).format(
            name=sql.Identifier(name),
            type=sql.SQL(shape.table.columns[name].full_type),
            open=_is_open(shape, name),
            same=wanted.same,
        )
    ).rowcount


def _keep_link(connection: psycopg.Connection, shape: Shape, name: str, to: str, wanted: _Wanted) -> int:
    """Of several rows that fit, the one is meant that the ERP row is linked to: a twin that comes takes nothing."""
    if wanted.match.key or wanted.match.compare != "equal":
        return 0
    source, columns = shape.related.joined(to, list(wanted.paths))
    return connection.execute(
        sql.SQL(
            "update ls_stage s set {name} = e.{name} from ls_found f, legacy_sync.binding b, {erp} e"
            " where f.n > 1 and {open} and {same} and b.entity_id = {entity} and b.legacy_key = s._key"
            " and e.{pk} = b.erp_key::{type} and exists (select from {source} where {equal} and t.{key} = e.{name})"
        ).format(
            name=sql.Identifier(name),
            erp=shape.erp,
            open=_is_open(shape, name),
            same=wanted.same,
            entity=sql.Literal(shape.entity_id),
            pk=shape.pk,
            type=shape.pk_type,
            source=source,
            equal=_equal(wanted, columns, "f"),
            key=sql.Identifier(_pointed_at(shape, name)),
        )
    ).rowcount


def _keep_named(connection: psycopg.Connection, shape: Shape, name: str, to: str, tried: Sequence[_Wanted]) -> None:
    """A record that was deleted in the ERP, or whose link there is another one, goes on naming a row that is gone.

    Nothing is written there, so that the missing row is no reason to park the record, or to make that row anew.
    """
    base = shape.base_of(name)
    agreed = sql.SQL("case when b.erp_base is null then {} else {} end").format(base, shape.base_of(name, "erp_base"))
    connection.execute(
        sql.SQL(
            "update ls_stage s set {name} = ({base})::{type} from legacy_sync.binding b"
            " left join {erp} e on e.{pk} = b.erp_key::{pk_type}"
            " where {open} and coalesce({named}) is not null and b.entity_id = {entity} and b.legacy_key = s._key"
            "  and {base} is not null and (e.{pk} is null or {agreed} is distinct from {base})"
            "  and not exists (select from {to} t where t.{key} = ({base})::{type})"
        ).format(
            name=sql.Identifier(name),
            base=base,
            type=sql.SQL(shape.table.columns[name].full_type),
            erp=shape.erp,
            pk=shape.pk,
            pk_type=shape.pk_type,
            open=_is_open(shape, name),
            named=sql.SQL(", ").join(t.text for t in tried),
            entity=sql.Literal(shape.entity_id),
            agreed=agreed,
            to=shape.related.identifier(to),
            key=sql.Identifier(_pointed_at(shape, name)),
        )
    )


def _watch(connection: psycopg.Connection, name: str, wanted: _Wanted, tried: Sequence[_Wanted]) -> None:
    """Remembers the rows about to be linked although a better alternative names another row, not there yet."""
    better = sql.SQL("coalesce({})").format(sql.SQL(", ").join(t.text for t in tried))
    connection.execute(
        sql.SQL(
            "insert into ls_second_choice select s._row, s._key, {label}, {better}"
            " from ls_stage s join ls_found f on f.n = 1 and {same}"
            " where s.{name} is null and {better} is not null and {better} is distinct from {text}"
        ).format(label=sql.Literal(name), better=better, same=wanted.same, name=sql.Identifier(name), text=wanted.text)
    )


# --- rows that are not there -------------------------------------------------------------------


def _create(
    connection: psycopg.Connection,
    shape: Shape,
    name: str,
    reference: Reference,
    word: Create,
    tried: Sequence[_Wanted],
    run_id: int,
) -> tuple[int, int]:
    """Makes the rows that are missing and links to them; returns how many were made and how many rows were linked."""
    by = Match.model_construct(
        columns={path: word.values[path] for path in word.by}, pick=shape.related.key_of(reference.to).name
    )
    staged = _created_values(shape, name, reference, word)
    wanted = _Wanted(by, tuple(word.by), tuple(staged[path] for path in word.by), (False,) * len(word.by))
    made = connection.execute(_insert_created(shape, name, reference, word, staged, wanted), {"run": run_id}).rowcount
    _find(connection, shape, name, reference.to, wanted)
    if word.stands_in:
        _watch(connection, name, wanted, tried)
    return made, _link(connection, shape, name, wanted)


def _created_values(shape: Shape, name: str, reference: Reference, word: Create) -> dict[str, sql.Composed]:
    """The columns of a new row as expressions over the stage, each in the type of its column."""
    staged = {}
    for i, (path, found) in enumerate(word.values.items()):
        column = shape.related.column(reference.to, path)
        value = shape.staged(found.from_column or create_column(name, i))
        staged[path] = sql.SQL("{}::{}").format(value, sql.SQL(column.full_type if column else "text"))
    return staged


def _insert_created(
    shape: Shape, name: str, reference: Reference, word: Create, staged: dict[str, sql.Composed], wanted: _Wanted
) -> sql.Composed:
    table = shape.related.tables[reference.to]
    key = shape.related.key_of(reference.to)
    columns = {path: sql.SQL("w.{}").format(sql.Identifier(path)) for path in staged}
    columns |= {at: sql.SQL("now()").format() for at in (word.created_at, word.updated_at) if at}
    if not key.has_default and key.type == "uuid":
        columns[key.name] = sql.SQL("gen_random_uuid()").format()
    needed = [path for path in staged if path in table.columns and not table.columns[path].nullable]
    same = sql.SQL(" and ").join(sql.SQL("t.{0} = w.{0}").format(sql.Identifier(path)) for path in word.by)
    return sql.SQL(
        "with w as (select distinct on ({by}) s._row, s._key, {values} from ls_stage s"
        "  where {open} and not {kept} and {said} and {needed} order by {by}, s._row),"
        " made as (insert into {to} ({names}) select {columns} from w"
        "  where not exists (select from {to} t where {same}) on conflict do nothing returning {returned})"
        " insert into legacy_sync.change"
        "  (run_id, entity_id, erp_table, legacy_key, erp_key, kind, columns, before, after)"
        " select %(run)s, {entity}, {label}, w._key, t.{key}::text, 'create', {listed},"
        "  array_fill(null::text, array[{count}]), {after} from made t join w on {same}"
    ).format(
        by=sql.SQL(", ").join(staged[path] for path in word.by),
        values=sql.SQL(", ").join(sql.SQL("{} as {}").format(v, sql.Identifier(p)) for p, v in staged.items()),
        open=_is_open(shape, name),
        kept=shape.is_kept(name),
        said=wanted.is_said,
        needed=sql.SQL(" and ").join(sql.SQL("{} is not null").format(staged[p]) for p in [*needed, *word.by]),
        to=shape.related.identifier(reference.to),
        names=sql.SQL(", ").join(map(sql.Identifier, columns)),
        columns=sql.SQL(", ").join(columns.values()),
        same=same,
        entity=sql.Literal(shape.entity_id),
        label=sql.Literal(reference.to),
        key=sql.Identifier(key.name),
        returned=sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys([key.name, *staged]))),
        listed=sql.Literal(list(staged)),
        count=sql.Literal(len(staged)),
        after=shape.base_array(sql.SQL("t.{}").format(sql.Identifier(path)) for path in staged),
    )


def _unmatched(
    connection: psycopg.Connection, shape: Shape, name: str, reference: Reference, tried: Sequence[_Wanted]
) -> tuple[int, int]:
    """Parks or leaves the rows without a parent; returns how many named none and how many named a missing one."""
    named = sql.SQL("coalesce({})").format(sql.SQL(", ").join(t.text for t in tried))
    unlinked = sql.SQL(" from ls_stage s where {} and not {}").format(_is_open(shape, name), shape.is_kept(name))
    is_blank, is_missing = (sql.SQL(f" and {{}} is {word}").format(named) for word in ("null", "not null"))
    blank = _count(connection, sql.SQL("select count(*)") + unlinked + is_blank)
    missing = _count(connection, sql.SQL("select count(*)") + unlinked + is_missing)
    must_be = not shape.table.columns[name].nullable
    reason = "reference_rejected" if reference.if_missing == "reject" else "reference_missing"
    select = sql.SQL(
        "select s._row, s._key, {reason}, {label}, {named},"
        " case when {named} is null then {label} || ': the record names no row of ' || {to}"
        " else format('%s: no row of %s for \"%s\"', {label}::text, {to}::text, {named}) end"
    ).format(reason=sql.Literal(reason), label=sql.Literal(name), to=sql.Literal(reference.to), named=named)
    if must_be or reference.parks_blank:
        park_staged(connection, select + unlinked + is_blank)
    if must_be or reference.if_missing != "null":
        park_staged(connection, select + unlinked + is_missing)
    return blank, missing


def _pointed_at(shape: Shape, name: str) -> str:
    """The column a foreign key points to; `id` where pyERP declares none."""
    return next((k.to_column for k in shape.table.foreign_keys if k.column == name), "id")


def _count(connection: psycopg.Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
