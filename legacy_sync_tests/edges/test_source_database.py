"""Do rows of any database arrive whole, in plain values and from one moment? On PostgreSQL and SQLite."""

import secrets
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from source_setup import read_all, source_of
from sqlalchemy.engine import make_url

from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.errors import SettingsInvalid, SourceRefused, SourceUnavailable, SourceUntrustworthy
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.sources.base import KEY, Scope, is_json_text

MOVES = """
create table moves (id integer primary key, article text, amount integer, moment {moment}, weight numeric(8, 3));
insert into moves values
    (1, '700003', 5, '2025-03-31 23:30:00{z}', 1.5), (2, '700014', -2, '2025-04-01 00:00:00{z}', null),
    (10, '700003', 7, '2025-04-30 22:15:00{z}', 0.125), (11, '007', 0, null, 12345.678);
create view heavy as select id, weight from moves where weight > 1
"""


@pytest.fixture
def other_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """An empty PostgreSQL database that is no ERP."""
    name = f"other_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
        yield postgres.url(name)
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture(params=["sqlite", "postgresql"])
def moves(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A source with a table of movements and a view."""
    if request.param == "sqlite":
        file = tmp_path / "ware house%.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(MOVES.format(moment="datetime", z=""))
        url = f"sqlite:///{file}"
    else:
        url = request.getfixturevalue("other_database")
        with psycopg.connect(url) as connection:
            connection.execute(MOVES.format(moment="timestamptz", z="+00"))
    source = source_of({"type": "database", "url": url})
    yield source
    source.close()


def ids(source: Any, **scope: Any) -> list[int]:
    return [row["id"] for row in read_all(source, "moves", **scope)[0]]


def execute(url: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text)  # type: ignore[arg-type]


def test_the_catalog_has_tables_and_views_with_their_columns_and_keys(moves):
    catalog = moves.describe()
    assert catalog["moves"].names == ("id", "article", "amount", "moment", "weight", KEY)
    assert (catalog["moves"].key, catalog["heavy"].key) == (("id",), ())
    assert catalog["heavy"].names == ("id", "weight")


def test_a_whole_table_comes_in_plain_values_counted_and_complete(moves):
    rows, fetch = read_all(moves, "moves")
    assert [(row[KEY], row["article"], row["amount"]) for row in rows] == [
        ("1", "700003", 5),
        ("2", "700014", -2),
        ("10", "700003", 7),
        ("11", "007", 0),
    ]
    assert [str(row["weight"]) for row in rows] in (
        ["1.500", "None", "0.125", "12345.678"],
        ["1.5", "None", "0.125", "12345.678"],
    )
    assert rows[0]["moment"] in ("2025-03-31T23:30:00+00:00", "2025-03-31 23:30:00")
    assert (fetch.total, fetch.report.rows, fetch.report.complete) == (4, 4, True)
    assert fetch.report.server_time.tzinfo is not None


def test_bounds_on_days_numbers_and_keys_choose_rows(moves):
    april = {"cursor": "moment", "cursor_from": date(2025, 4, 1), "cursor_to": date(2025, 5, 1)}
    assert ids(moves, **april) == [2, 10]
    assert ids(moves, **april, with_blank_cursor=True) == [2, 10, 11]
    assert ids(moves, cursor="moment", cursor_to=date(2025, 4, 1)) == [1, 11]
    assert ids(moves, number_attribute="amount", number_from=0, number_to=6) == [1, 11]
    assert ids(moves, number_attribute="article", number_to=700003) == [11]
    assert ids(moves, key_from="10", key_to="2") == [10, 11]


def test_a_window_ends_at_midnight_of_the_declared_zone(other_database):
    execute(other_database, MOVES.format(moment="timestamptz", z="+00"))
    berlin = source_of({"type": "database", "url": other_database, "timezone": "Europe/Berlin"})
    rows, _ = read_all(berlin, "moves", cursor="moment", cursor_from=date(2025, 4, 1), cursor_to=date(2025, 5, 1))
    assert [(row["id"], row["moment"]) for row in rows] == [
        (1, "2025-04-01T01:30:00+02:00"),
        (2, "2025-04-01T02:00:00+02:00"),
    ]
    assert berlin.probe("moves", "moment", None).newest == date(2025, 5, 1)
    berlin.close()


def test_a_probe_counts_and_names_the_newest_day(moves):
    assert moves.probe("moves", None, None).count == 4
    seen = moves.probe("moves", "moment", date(2025, 4, 1))
    assert (seen.count, seen.newest) == (2, date(2025, 4, 30))


def test_keys_come_as_text(moves):
    assert sorted(key for batch in moves.fetch_keys("moves") for key in batch) == ["1", "10", "11", "2"]
    with pytest.raises(SourceRefused, match='"heavy" has no key') as caught:
        list(moves.fetch_keys("heavy"))
    assert "tables: {heavy: {key: […]}}" in caught.value.next_step


def test_a_view_gets_a_key_from_the_source_file(moves):
    url = moves._url.render_as_string(hide_password=False)
    source = source_of({"type": "database", "url": url, "tables": {"heavy": {"key": ["id"]}}})
    assert [row[KEY] for row in read_all(source, "heavy")[0]] == ["1", "11"]
    source.close()


@pytest.mark.parametrize(
    ("table", "scope", "what"),
    [
        ("move", {}, 'no table or view "move"'),
        ("moves", {"cursor": "Moment", "cursor_from": date(2025, 4, 1)}, 'no column "Moment"'),
        ("moves", {"cursor": "amount", "cursor_from": date(2025, 4, 1)}, "holds numbers, not days"),
        ("heavy", {"key_from": "1"}, '"heavy" has 0'),
    ],
)
def test_names_that_are_wrong_are_refused_with_the_closest(moves, table, scope, what):
    with pytest.raises(SourceRefused, match=what) as caught:
        read_all(moves, table, **scope)
    assert "source example" in caught.value.where
    assert caught.value.next_step


def test_values_of_postgresql_are_spelled_as_the_contract_says(other_database):
    execute(
        other_database,
        "create table t (id uuid primary key, o jsonb, l int[], b bytea, d date, h time, i interval, f float8, t bool);"
        "insert into t values ('00000000-0000-0000-0000-00000000000a', '{\"a\": [1]}', '{1,2}', '\\x01ff',"
        " '2025-04-01', '06:30', '1 hour', 0.5, true)",
    )
    source = source_of({"type": "database", "url": other_database})
    (batch,) = source.fetch(Scope("t"))
    assert batch.to_pylist() == [
        {
            "id": "00000000-0000-0000-0000-00000000000a",
            "o": '{"a":[1]}',
            "l": "[1,2]",
            "b": "01ff",
            "d": "2025-04-01",
            "h": "06:30:00",
            "i": "3600",
            "f": 0.5,
            "t": True,
            KEY: "00000000-0000-0000-0000-00000000000a",
        }
    ]
    assert is_json_text(batch.schema.field("o"))
    source.close()


def test_a_fetch_sees_one_state_of_the_table(other_database):
    execute(other_database, "create table t (id int primary key); insert into t select generate_series(1, 25000)")
    source = source_of({"type": "database", "url": other_database})
    fetch = source.fetch(Scope("t"))
    batches = iter(fetch)
    first = next(batches)
    execute(other_database, "delete from t where id > 24000; insert into t values (30000)")
    assert first.num_rows + sum(batch.num_rows for batch in batches) == 25_000
    assert fetch.report.complete
    assert source.probe("t", None, None).count == 24_001
    source.close()


def test_memory_does_not_grow_with_the_table(tmp_path):
    file = tmp_path / "large.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table t (id integer primary key, text text)")
        connection.executemany("insert into t values (?, ?)", ((n, f"row {n} " * 20) for n in range(60_000)))
        connection.commit()
    source = source_of({"type": "database", "url": f"sqlite:///{file}"})
    list(source.fetch(Scope("t", number_attribute="id", number_to=10_000)))
    tracemalloc.start()
    assert sum(batch.num_rows for batch in source.fetch(Scope("t"))) == 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000, "one batch of 10,000 rows, not six"
    source.close()


def test_other_rows_than_were_counted_are_not_believed(other_database):
    execute(other_database, "create view shaky as select generate_series(1, (random() * 1000000)::int) as n")
    source = source_of({"type": "database", "url": other_database})
    fetch = source.fetch(Scope("shaky"))
    with pytest.raises(SourceUntrustworthy, match=r'rows of "shaky" were counted, but [\d,]+ came'):
        list(fetch)
    with pytest.raises(RuntimeError, match="only after all"):
        _ = fetch.report
    source.close()


def test_nothing_can_be_written(moves):
    with pytest.raises((SourceRefused, SourceUnavailable)), moves._connected("moves") as connection:
        connection.exec_driver_sql("delete from moves")
    assert moves.probe("moves", None, None).count == 4


# --- what can go wrong -------------------------------------------------------------------------


def test_a_database_that_is_away_may_come_back_and_no_password_is_shown():
    url = "postgresql://reader:ge%3Aheim@127.0.0.1:1/erp"
    source = source_of({"type": "database", "url": url, "timeout_seconds": 2}, {"url": "WAREHOUSE_URL"})
    with pytest.raises(SourceUnavailable) as caught:
        source.describe()
    assert "WAREHOUSE_URL" in caught.value.next_step
    assert "127.0.0.1" in caught.value.where
    assert "ge:heim" not in str(caught.value) + repr(source)
    assert "ge%3Aheim" not in str(caught.value) + repr(source) + repr(source._spec.options)
    source.close()


@pytest.mark.parametrize("change", [{"database": "nowhere"}, {"password": "wrong"}])
def test_a_wrong_login_or_database_is_refused(other_database, change):
    url = make_url(other_database).set(**change).render_as_string(hide_password=False)
    source = source_of({"type": "database", "url": url})
    with pytest.raises(SourceRefused, match=r"does not exist|authentication failed"):
        source.describe()
    source.close()


def test_a_table_without_rights_is_refused(other_database):
    execute(other_database, "create table t (id int primary key); create role poor login password 'ge:heim'")
    poor = make_url(other_database).set(username="poor", password="ge:heim").render_as_string(hide_password=False)
    source = source_of({"type": "database", "url": poor})
    with pytest.raises(SourceRefused, match="permission denied"):
        read_all(source, "t")
    source.close()
    execute(other_database, "drop role poor")


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    source = source_of({"type": "database", "url": f"sqlite:///{tmp_path}/none.db"})
    with pytest.raises(SourceUnavailable, match="there is no file"):
        source.describe()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"url": ""}, "has no address"),
        ({"url": "warehouse"}, "is none that SQLAlchemy knows"),
        ({"url": "four_d://host/x"}, "of the kind four_d cannot be reached"),
        ({"url": "sqlite://", "timezone": "Europe/Bern"}, '"Europe/Bern" is no time zone'),
    ],
)
def test_settings_that_cannot_work_are_named(words, what):
    with pytest.raises(SettingsInvalid, match=what):
        source_of({"type": "database", **words}, {"url": "WAREHOUSE_URL"})


def test_options_are_kept_for_messages():
    spec = SourceSpec("w", source_of({"type": "database", "url": "sqlite://"})._words, "mappings/sources/w.yaml")
    assert spec.how_to_set("url") == 'correct "url" in mappings/sources/w.yaml'
