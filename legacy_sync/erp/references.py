"""Which ERP row does each reference mean? Set-based lookups; missing and ambiguous ones are parked, never guessed."""

from __future__ import annotations

import psycopg
from psycopg import sql

from legacy_sync.erp.shape import Shape
from legacy_sync.erp.staging import lookup_column, park_staged
from legacy_sync.mapping.model import Match, Reference


def resolve_references(connection: psycopg.Connection, shape: Shape) -> dict[str, dict[str, int]]:
    """Fills every reference column of the stage; returns per column how many rows were linked, and how.

    The numbers are: rows, linked, blank, missing, ambiguous, and one `by <column>` per alternative.
    """
    return {
        name: _resolve(connection, shape, name, rule.reference)
        for name, rule in shape.mapping.fields.items()
        if rule.reference
    }


def _resolve(connection: psycopg.Connection, shape: Shape, name: str, reference: Reference) -> dict[str, int]:
    links = {"rows": _count(connection, sql.SQL("select count(*) from ls_stage").format())}
    links |= {"linked": 0, "blank": 0, "missing": 0, "ambiguous": 0}
    lookups: list[sql.Identifier] = []
    for number, match in enumerate(reference.match):
        lookup = sql.Identifier(lookup_column(name, number)) if match.from_ else sql.Identifier(str(match.from_column))
        linked, ambiguous = _match(connection, shape, name, reference, match, lookup, lookups)
        lookups.append(lookup)
        links["linked"] += linked
        links["ambiguous"] += ambiguous
        links[f"by {match.column}"] = links.get(f"by {match.column}", 0) + linked
    links["blank"], links["missing"] = _unmatched(connection, shape, name, reference, lookups)
    return links


def _match(
    connection: psycopg.Connection,
    shape: Shape,
    name: str,
    reference: Reference,
    match: Match,
    lookup: sql.Identifier,
    tried: list[sql.Identifier],
) -> tuple[int, int]:
    """Links by one alternative, after others were `tried`; returns how many were linked and how many ambiguous."""
    to, key, column = (
        sql.Identifier(reference.to),
        sql.Identifier(_pointed_at(shape, name)),
        sql.Identifier(match.column),
    )
    connection.execute("drop table if exists ls_found")
    connection.execute(
        sql.SQL(
            "create temp table ls_found as"
            " select w.v, min(t.{key}::text) as id, count(*) as n"
            " from (select distinct s.{lookup}::text as v from ls_stage s"
            "       where s.{name} is null and s.{lookup}::text <> '') w"
            " join {to} t on t.{column}::text = w.v group by w.v"
        ).format(key=key, lookup=lookup, name=sql.Identifier(name), to=to, column=column)
    )
    type_ = sql.SQL(shape.table.columns[name].full_type)
    if tried:
        _watch(connection, name, lookup, tried)
    linked = connection.execute(
        sql.SQL(
            "update ls_stage s set {name} = f.id::{type} from ls_found f"
            " where f.n = 1 and s.{name} is null and s.{lookup}::text = f.v"
        ).format(name=sql.Identifier(name), lookup=lookup, type=type_)
    ).rowcount
    ambiguous = park_staged(
        connection,
        sql.SQL(
            "select s._row, s._key, 'reference_ambiguous', {label}, f.v,"
            " format('%s: %s rows of %s have %s = \"%s\"', {label}::text, f.n, {to}::text, {column}::text, f.v)"
            " from ls_stage s join ls_found f on f.v = s.{lookup}::text where f.n > 1 and s.{name} is null"
        ).format(
            label=sql.Literal(name),
            to=sql.Literal(reference.to),
            column=sql.Literal(match.column),
            lookup=lookup,
            name=sql.Identifier(name),
        ),
    )
    return linked, ambiguous


def _watch(connection: psycopg.Connection, name: str, lookup: sql.Identifier, tried: list[sql.Identifier]) -> None:
    """Remembers the rows about to be linked although a better alternative names a row that is not there yet."""
    better = sql.SQL(", ").join(sql.SQL("nullif(s.{}::text, '')").format(t) for t in tried)
    connection.execute(
        sql.SQL(
            "insert into ls_second_choice select s._row, s._key, {label}, coalesce({better})"
            " from ls_stage s join ls_found f on f.n = 1 and f.v = s.{lookup}::text"
            " where s.{name} is null and coalesce({better}) is not null"
        ).format(label=sql.Literal(name), better=better, lookup=lookup, name=sql.Identifier(name))
    )


def _unmatched(
    connection: psycopg.Connection, shape: Shape, name: str, reference: Reference, lookups: list[sql.Identifier]
) -> tuple[int, int]:
    """Parks or leaves the rows without a parent; returns how many named none and how many named a missing one."""
    values = sql.SQL(", ").join(sql.SQL("nullif(s.{}::text, '')").format(lookup) for lookup in lookups)
    named = sql.SQL("coalesce({})").format(values)
    unlinked = sql.SQL(" from ls_stage s where s.{} is null and not {}").format(
        sql.Identifier(name), shape.is_kept(name)
    )
    blank = _count(connection, sql.SQL("select count(*)") + unlinked + sql.SQL(" and {} is null").format(named))
    missing = _count(connection, sql.SQL("select count(*)") + unlinked + sql.SQL(" and {} is not null").format(named))
    if reference.if_missing != "null" or not shape.table.columns[name].nullable:
        reason = "reference_rejected" if reference.if_missing == "reject" else "reference_missing"
        select = sql.SQL(
            "select s._row, s._key, {reason}, {label}, {named},"
            " case when {named} is null then {label} || ': the record names no row of ' || {to}"
            " else format('%s: no row of %s for \"%s\"', {label}::text, {to}::text, {named}) end"
        ).format(reason=sql.Literal(reason), label=sql.Literal(name), to=sql.Literal(reference.to), named=named)
        park_staged(connection, select + unlinked)
    return blank, missing


def _pointed_at(shape: Shape, name: str) -> str:
    """The column a foreign key points to; `id` where pyERP declares none."""
    return next((k.to_column for k in shape.table.foreign_keys if k.column == name), "id")


def _count(connection: psycopg.Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
