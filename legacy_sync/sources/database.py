"""How do rows of any SQL database reach us, in flat memory and as they were at one moment?

SQLAlchemy writes every statement, so no name and no value is ever pasted into SQL. A fetch is one ordered
SELECT in one read-only transaction, read through a cursor on the server, and its rows are counted there.
"""

from __future__ import annotations

import difflib
import logging
import time as clock
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from legacy_sync.errors import SettingsInvalid, SourceRefused, SourceUnavailable, SourceUntrustworthy
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.mapping.source_words import DatabaseWords
from legacy_sync.settings import MASK
from legacy_sync.sources.base import KEY, KEY_SEPARATOR, Attribute, FetchReport, Probe, Scope, TableInfo
from legacy_sync.sources.narrowing import find_day
from legacy_sync.sources.plain import key_column, to_batch

logger = logging.getLogger(__name__)

_BATCH_ROWS = 10_000
_SNAPSHOTS = {"postgresql": "REPEATABLE READ", "mysql": "REPEATABLE READ", "mariadb": "REPEATABLE READ"}
"""isolation in which several statements see one state; SQLite needs a transaction only"""
_REFUSED_STATES = ("28", "3D", "3F", "42")  # login, database, schema, rights and unknown names in SQL's own codes
_REFUSED_TEXTS = ("authentication failed", "access denied", "no such table", "no such column", "does not exist")


@dataclass(frozen=True)
class _Table:
    """A table as statements need it: names from the catalog, types only where they decide something."""

    info: TableInfo
    clause: sa.TableClause
    types: dict[str, Any]


class DatabaseSource:
    """Tables and views of one database; safe to share between threads."""

    def __init__(self, spec: SourceSpec) -> None:
        self.name = spec.name
        self._spec = spec
        self._words = cast(DatabaseWords, spec.options)
        self._secrets = [secret for _, secret in self._words.secrets()]
        self._zone = _zone_of(spec)
        self._url = _url_of(spec)
        self._engine = _engine_of(self._url, self._words)
        self._tables: dict[str, _Table] | None = None

    def __repr__(self) -> str:
        return f"DatabaseSource({self._shown!r})"

    @property
    def where(self) -> str:
        """The database, for messages."""
        return f"source {self.name}, database {self._shown}"

    @property
    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def describe(self) -> dict[str, TableInfo]:
        """All tables and views of the schema, by name; read once per source object."""
        return {name: table.info for name, table in self._catalog().items()}

    def probe(self, table: str, cursor: str | None, since: date | None) -> Probe:
        """One small query: how many rows have `cursor >= since`, and the newest of them."""
        known = self._table(table)
        columns: list[sa.ColumnElement[Any]] = [sa.func.count()]
        if cursor:
            columns.append(sa.func.max(known.clause.c[self._known_column(known, cursor)]))
        query = sa.select(*columns).select_from(known.clause)
        if cursor and since:
            query = query.where(self._from_day(known, cursor, since))
        with self._connected(table) as connection:
            server_time = _server_time(connection)
            row = connection.execute(query).one()
        newest = find_day(self._day_text(row[1])) if cursor and row[1] is not None else None
        return Probe(int(row[0]), newest, server_time)

    def fetch(self, scope: Scope) -> DatabaseFetch:
        """A fetch of the scope's rows; nothing is asked before its first batch is."""
        return DatabaseFetch(self, scope)

    def fetch_keys(self, table: str) -> Iterator[tuple[str, ...]]:
        """The keys of all rows as text, in batches; raises SourceRefused for a table without a key."""
        known = self._table(table)
        if not known.info.key:
            raise SourceRefused(
                f'the table "{table}" has no key to tell its rows apart',
                where=self.where,
                next_step=f"declare it: tables: {{{table}: {{key: […]}}}} in {self._spec.place or 'its source file'}",
            )
        query = sa.select(*(known.clause.c[name] for name in known.info.key))
        with self._connected(table) as connection:
            for rows in connection.execution_options(yield_per=_BATCH_ROWS).execute(query).partitions():
                keys = key_column(list(zip(*rows, strict=True)), KEY_SEPARATOR)
                yield tuple(key for key in keys if key is not None)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def read(self, scope: Scope) -> Iterator[DatabaseRead]:
        """A scope's rows inside one snapshot, counted before the first of them comes."""
        known = self._table(scope.table)
        names = _chosen(known.info, scope)
        query = sa.select(*(known.clause.c[name] for name in names)).select_from(known.clause)
        query = query.where(*self._bounds(known, scope))
        count = sa.select(sa.func.count()).select_from(query.subquery())
        ordered = query.order_by(*(known.clause.c[name] for name in known.info.key))
        with self._connected(scope.table) as connection:
            server_time = _server_time(connection)
            total = int(connection.execute(count).scalar_one())
            result = connection.execution_options(yield_per=_BATCH_ROWS).execute(ordered)
            yield DatabaseRead(total, server_time, self._batches(known, names, result), self.has_snapshot)

    @property
    def has_snapshot(self) -> bool:
        """Whether rows that change while they are read cannot be missed or come twice."""
        return self._engine.dialect.name in {*_SNAPSHOTS, "sqlite"}

    def _batches(self, known: _Table, names: Sequence[str], result: sa.CursorResult[Any]) -> Iterator[pa.RecordBatch]:
        for rows in result.partitions():
            columns: dict[str, Sequence[Any]] = dict(zip(names, zip(*rows, strict=True), strict=True))
            if known.info.key:
                columns[KEY] = key_column([columns[name] for name in known.info.key], KEY_SEPARATOR)
            yield to_batch(columns, self._zone)

    # --- the catalog

    def _catalog(self) -> dict[str, _Table]:
        if self._tables is None:
            with self._connected("catalog") as connection, warnings.catch_warnings():
                warnings.simplefilter("ignore", exc.SAWarning)  # types of extensions that SQLAlchemy does not know
                inspector = sa.inspect(connection)
                schema = self._words.schema_
                kind = sa.engine.reflection.ObjectKind.ANY
                columns = inspector.get_multi_columns(schema=schema, kind=kind)
                keys = inspector.get_multi_pk_constraint(schema=schema, kind=kind)
            self._tables = {
                name: self._described(name, schema, cast(Any, found), keys.get((schema, name)))
                for (_, name), found in sorted(columns.items(), key=lambda item: item[0][1])
            }
        return self._tables

    def _described(self, name: str, schema: str | None, columns: list[dict[str, Any]], key: Any) -> _Table:
        declared = self._words.tables.get(name)
        parts = tuple(declared.key) if declared and declared.key else tuple((key or {}).get("constrained_columns", ()))
        attributes = [Attribute(str(c["name"]), str(c["type"]).lower()) for c in columns]
        if parts:
            attributes.append(Attribute(KEY, "text"))
        # Columns without a type: values stay as the driver gives them, whatever the catalog promises.
        clause = sa.table(name, *(sa.column(str(c["name"])) for c in columns), schema=schema)
        types = {str(c["name"]): c["type"] for c in columns}
        return _Table(TableInfo(name, tuple(attributes), parts), clause, types)

    def _table(self, name: str) -> _Table:
        catalog = self._catalog()
        if name not in catalog:
            close = ", ".join(f'"{other}"' for other in difflib.get_close_matches(name, catalog, n=3, cutoff=0.5))
            raise SourceRefused(
                f'the database has no table or view "{name}"',
                where=f"{self.where}, catalog with {len(catalog)} tables",
                next_step=f"correct the name (close: {close})" if close else "check the name and the `schema`",
            )
        for part in catalog[name].info.key:
            self._known_column(catalog[name], part)
        return catalog[name]

    def _known_column(self, table: _Table, name: str) -> str:
        if name in table.types:
            return name
        close = difflib.get_close_matches(name, table.types, n=3, cutoff=0.5)
        raise SourceRefused(
            f'the table "{table.info.name}" has no column "{name}"',
            where=f"{self.where}, catalog",
            next_step=f"correct the name (close: {', '.join(close)})" if close else "correct the mapping or the source",
        )

    # --- bounds

    def _bounds(self, table: _Table, scope: Scope) -> Iterator[sa.ColumnElement[bool]]:
        if scope.cursor and (scope.cursor_from or scope.cursor_to):
            yield self._cursor_bounds(table, scope.cursor, scope)
        if scope.number_from is not None or scope.number_to is not None:
            yield self._number_bounds(table, scope)
        if scope.key_from or scope.key_to:
            yield from self._key_bounds(table, scope)

    def _cursor_bounds(self, table: _Table, cursor: str, scope: Scope) -> sa.ColumnElement[bool]:
        column = table.clause.c[self._known_column(table, cursor)]
        inside: sa.ColumnElement[bool] = sa.true()
        if scope.cursor_from:
            inside = sa.and_(inside, self._from_day(table, cursor, scope.cursor_from))
        if scope.cursor_to:
            inside = sa.and_(inside, column < self._midnight(table, cursor, scope.cursor_to))
        takes_blank = scope.with_blank_cursor or scope.cursor_from is None
        return sa.or_(inside, column.is_(None)) if takes_blank else inside

    def _from_day(self, table: _Table, cursor: str, day: date) -> sa.ColumnElement[bool]:
        return table.clause.c[self._known_column(table, cursor)] >= self._midnight(table, cursor, day)

    def _midnight(self, table: _Table, cursor: str, day: date) -> sa.ColumnElement[Any]:
        """The beginning of a day in the type of the column; texts are compared as ISO spells them."""
        kind = table.types[cursor]
        if isinstance(kind, sa.DateTime) and self._engine.dialect.name != "sqlite":
            zone = self._zone if kind.timezone else None
            return sa.literal(datetime.combine(day, time(), zone), sa.DateTime(timezone=kind.timezone))
        if isinstance(kind, sa.Date) and self._engine.dialect.name != "sqlite":
            return sa.literal(day, sa.Date())
        if isinstance(kind, sa.Integer | sa.Numeric):
            raise SourceRefused(
                f'the cursor "{cursor}" of "{table.info.name}" holds numbers, not days',
                where=f"{self.where}, catalog",
                next_step="choose a column with dates, or cut the table by numbers (`partitions` of the mapping)",
            )
        return sa.literal(day.isoformat(), sa.String())

    def _number_bounds(self, table: _Table, scope: Scope) -> sa.ColumnElement[bool]:
        name = self._known_column(table, scope.number_attribute or "")
        column: sa.ColumnElement[Any] = table.clause.c[name]
        if not isinstance(table.types[name], sa.Integer | sa.Numeric):
            column = sa.cast(column, sa.Numeric())
        inside: sa.ColumnElement[bool] = sa.true()
        if scope.number_from is not None:
            inside = sa.and_(inside, column >= sa.literal(scope.number_from, sa.BigInteger()))
        if scope.number_to is not None:
            inside = sa.and_(inside, column < sa.literal(scope.number_to, sa.BigInteger()))
        return sa.or_(inside, column.is_(None)) if scope.number_from is None else inside

    def _key_bounds(self, table: _Table, scope: Scope) -> Iterator[sa.ColumnElement[bool]]:
        if len(table.info.key) != 1:
            raise SourceRefused(
                f'ranges of keys need a key of one column; "{table.info.name}" has {len(table.info.key)}',
                where=f"{self.where}, catalog",
                next_step="cut the table in another way (`partitions` of the mapping)",
            )
        text = sa.cast(table.clause.c[table.info.key[0]], sa.String())
        if scope.key_from:
            yield text >= sa.literal(scope.key_from, sa.String())
        if scope.key_to:
            yield text < sa.literal(scope.key_to, sa.String())

    def _day_text(self, value: Any) -> str:
        if isinstance(value, datetime) and value.tzinfo:
            value = value.astimezone(self._zone)
        return value.isoformat() if isinstance(value, date) else str(value)

    # --- connections

    @contextmanager
    def _connected(self, place: str) -> Iterator[sa.Connection]:
        """A read-only connection in one transaction; errors of the driver become ours."""
        where = f"{self.where}, {place}"
        _require_file(self._url, where)
        try:
            with self._engine.connect() as connection:
                self._begin(connection)
                yield connection
        except exc.SQLAlchemyError as error:
            raise self._translated(error, where) from None  # its text holds statements and perhaps secrets

    def _begin(self, connection: sa.Connection) -> None:
        name = self._engine.dialect.name
        if name == "sqlite":
            connection.exec_driver_sql("BEGIN")  # the driver begins none for a SELECT
        elif name in _SNAPSHOTS:
            connection.execution_options(isolation_level=_SNAPSHOTS[name])
        if name == "postgresql":
            connection.execution_options(postgresql_readonly=True)

    def _translated(self, error: exc.SQLAlchemyError, where: str) -> SourceUnavailable | SourceRefused:
        cause = getattr(error, "orig", None) or error
        text = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        state = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
        refused = state.startswith(_REFUSED_STATES) or any(said in text.lower() for said in _REFUSED_TEXTS)
        if refused or not isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError):
            return SourceRefused(
                f"the database refuses: {text}", where=where, next_step=self._spec.how_to_set("url") + ", or the rights"
            )
        return SourceUnavailable(
            f"the database could not be read: {text}",
            where=where,
            next_step=f"check that it runs and can be reached, then run again; else {self._spec.how_to_set('url')}",
        )


@dataclass(frozen=True)
class DatabaseRead:
    """Rows on their way: how many there are, and since when."""

    total: int
    server_time: datetime
    batches: Iterator[pa.RecordBatch]
    is_snapshot: bool


class DatabaseFetch:
    """One running fetch; iterate once, then read `report`."""

    def __init__(self, source: DatabaseSource, scope: Scope) -> None:
        self._source, self._scope = source, scope
        self._report: FetchReport | None = None
        self.total: int | None = None

    @property
    def report(self) -> FetchReport:
        """What was fetched; only after the iteration ended."""
        if self._report is None:
            raise RuntimeError("a fetch has its report only after all of its batches were read")
        return self._report

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches; raises SourceUntrustworthy if other rows came than were counted."""
        began = clock.monotonic()
        rows = size = 0
        with self._source.read(self._scope) as reading:
            self.total = reading.total
            for batch in reading.batches:
                rows += batch.num_rows
                size += batch.nbytes
                yield batch
        self._check(rows, reading)
        self._report = FetchReport(
            rows=rows,
            requests=2,
            bytes=size,
            seconds=clock.monotonic() - began,
            complete=reading.is_snapshot,
            server_time=reading.server_time,
            notes=() if reading.is_snapshot else ("rows may have changed while they were read",),
        )

    def _check(self, rows: int, reading: DatabaseRead) -> None:
        if rows == reading.total:
            return
        what = f'{reading.total:,} rows of "{self._scope.table}" were counted, but {rows:,} came'
        if reading.is_snapshot:
            raise SourceUntrustworthy(what, where=self._source.where, next_step="check the database, then run again")
        raise SourceUnavailable(what, where=self._source.where, next_step="run again: rows changed meanwhile")


def _chosen(info: TableInfo, scope: Scope) -> tuple[str, ...]:
    """The columns to read, with those of the key."""
    names = info.names[:-1] if info.key else info.names
    wanted = {*info.key, *scope.attributes}
    chosen = tuple(name for name in names if name in wanted) if scope.attributes else ()
    return chosen or names


def _url_of(spec: SourceSpec) -> URL:
    text = cast(DatabaseWords, spec.options).url
    if not text:
        raise SettingsInvalid(
            f"the source {spec.name} has no address", where=spec.place, next_step=spec.how_to_set("url")
        )
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise SettingsInvalid(
            f'the url of the source {spec.name} is none that SQLAlchemy knows, such as "postgresql://user@host/name"',
            where=spec.place,
            next_step=spec.how_to_set("url"),
        ) from None  # its text holds the url with its password
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _zone_of(spec: SourceSpec) -> ZoneInfo:
    name = cast(DatabaseWords, spec.options).timezone
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsInvalid(
            f'"{name}" is no time zone', where=spec.place, next_step='write an IANA name such as "Europe/Berlin"'
        ) from None


def _engine_of(url: URL, words: DatabaseWords) -> sa.Engine:
    """An engine that has not connected yet."""
    seconds = words.timeout_seconds
    name = url.get_backend_name()
    arguments: dict[str, Any] = {}
    if name == "postgresql":
        arguments = {"connect_timeout": max(2, round(seconds)), "application_name": "legacy_sync"}
    elif name == "sqlite":
        arguments = {"timeout": seconds}
        url = _read_only(url)
    elif name in ("mysql", "mariadb"):
        arguments = {"connect_timeout": round(seconds)}
    try:
        return sa.create_engine(url, connect_args=arguments, pool_pre_ping=True, hide_parameters=True)
    except (exc.ArgumentError, ImportError) as error:
        raise SettingsInvalid(
            f"databases of the kind {url.drivername} cannot be reached: {error}",
            where=url.render_as_string(hide_password=True),
            next_step="install the driver SQLAlchemy needs for it (docs/sources.md)",
        ) from error


def _read_only(url: URL) -> URL:
    """A SQLite file that is never created nor written; other spellings stay as they are."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        return url
    return url.set(database=f"file:{quote(url.database)}").update_query_dict({"mode": "ro", "uri": "true"})


def _require_file(url: URL, where: str) -> None:
    """SQLite's own message for a missing file says less."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    file = unquote(url.database.removeprefix("file:").split("?")[0])
    if not Path(file).is_file():
        raise SourceUnavailable(
            f'there is no file "{file}"', where=where, next_step="put it there, or correct the url of the source"
        )


def _server_time(connection: sa.Connection) -> datetime:
    """The database's own clock; ours for makes whose clock we cannot read without doubt."""
    name = connection.dialect.name
    if name == "postgresql":
        return connection.execute(sa.select(sa.func.now())).scalar_one().astimezone(UTC)
    if name in ("mysql", "mariadb"):
        told = connection.execute(sa.select(sa.func.utc_timestamp())).scalar_one()
        return cast(datetime, told).replace(tzinfo=UTC)
    return datetime.now(UTC)
