"""Does a name or a constant of a mapping ever become a part of a statement? Whatever it looks like, it stays a name."""

import psycopg
import pytest
from journey_setup import PARENTS, Journey
from psycopg import sql

from legacy_sync.erp.catalog import find_table
from legacy_sync.errors import MappingInvalid

NAMES = (
    *('a"b', "x; drop table core_tag; --", "Rabatt %", "%s", "%(run)s", "{}", "{0}", "it's", "Größe", "UPPER", "id "),
    *("select", "a\\b", "back`tick", "dollar$$", "e.name", "n" * 63, "\u202e", "two\nlines"),
)


def test_columns_may_have_any_name(journey: Journey) -> None:
    with psycopg.connect(journey.erp_url, autocommit=True) as owner:
        for name in NAMES:
            owner.execute(sql.SQL("alter table products_parentproduct add column {} text").format(sql.Identifier(name)))
    fields = {name: {"from": "Bezeichnung", "prefix": f"{name} %s {{0}} "} for name in NAMES}
    journey.remap(PARENTS, fields=fields)
    key = journey.family(1)
    assert journey.run().counts.inserted == 1
    journey.edit(key, Bezeichnung="neu'; select %s; --")
    assert journey.run().counts.updated == 1
    assert journey.run(full=True).counts.unchanged == 1
    row = journey.row("1")
    assert {name: row[name] for name in NAMES} == {n: f"{n} %s {{0}} neu'; select %s; --" for n in NAMES}


@pytest.mark.parametrize("value", ["50 %", "%s", "%(run)s {0}", "a'b\\", '"; drop table core_tag; --'])
def test_constants_may_be_any_text(journey: Journey, value: str) -> None:
    journey.remap(PARENTS, fields={"description": {"value": value}}, deletes={"policy": "set", "set": {"name": value}})
    journey.remap(PARENTS, change_detection={"strategy": "fingerprint"}, deletes={"max_share": 1})
    key = journey.family(1)
    journey.family(2)
    assert journey.run().counts.inserted == 2
    assert journey.row("1")["description"] == value
    journey.store.delete("Artikel_Familie", key)
    journey.run(full=True)
    assert journey.row("1")["name"] == value


def test_a_table_may_have_any_name(journey: Journey) -> None:
    name = 'Füße %s"; drop table core_tag; --'
    with psycopg.connect(journey.erp_url, autocommit=True) as owner:
        owner.execute(sql.SQL("alter table products_parentproduct rename to {}").format(sql.Identifier(name)))
    journey.said = {PARENTS: {**journey.said[PARENTS], "depends_on": []}}
    journey.remap(PARENTS, target={"table": name})
    key = journey.family(1)
    assert journey.run().counts.inserted == 1
    journey.edit(key, Bezeichnung="neu")
    assert journey.run().counts.updated == 1


@pytest.mark.parametrize("name", ["_key", "_row", "_keep_0"])
def test_names_of_the_load_itself_are_refused(journey: Journey, name: str) -> None:
    journey.remap(PARENTS, fields={name: {"from": "Bezeichnung"}})
    with pytest.raises(MappingInvalid, match="cannot be mapped"):
        journey.run()


@pytest.mark.parametrize("name", ["", ".", "a..b", "a.b.c", "a\x00b", '"', "x" * 100, "products_parentproduct "])
def test_what_is_no_name_of_a_table_is_no_table(erp: psycopg.Connection, name: str) -> None:
    assert find_table(erp, name) is None
