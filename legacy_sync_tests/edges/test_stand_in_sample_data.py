"""Is the sample data the same each time, as spoilt as the real one, and quick to serve when it is large?"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import quote

import pytest
import requests

from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.four_d_server.query import parse_filter, select
from legacy_sync.demo.four_d_server.rest import Request
from legacy_sync.demo.four_d_server.store import Row, TableDef
from legacy_sync.demo.sample_data import (
    ALL_TABLES,
    BENCH,
    DOCUMENTS,
    FAMILIES,
    POSITIONS,
    VARIANTS,
    build_store,
    change_bench,
    change_some,
    wide_table,
)


@pytest.fixture(scope="module")
def full() -> Store:
    return build_store(seed=1)


@pytest.fixture(scope="module")
def small() -> Store:
    return build_store(seed=1, families=40, variants=110)


def _payloads(store: Store) -> list[bytes | None]:
    return [payload for table in store.tables.values() for payload in table.payloads]


def test_same_seed_gives_the_same_rows() -> None:
    first, again, other = (build_store(seed, 40, 110) for seed in (3, 3, 4))
    assert _payloads(first) == _payloads(again)
    assert _payloads(first) != _payloads(other)


def test_it_has_the_size_of_the_real_one(full: Store) -> None:
    families, variants = full.rows(FAMILIES), full.rows(VARIANTS)
    parents = {row["UID"] for row in families}
    children = Counter(row["Familie_"] for row in variants)
    assert (len(families), len(variants)) == (1600, 4300)
    assert 275 <= len(parents - set(children)) <= 300
    assert max(children.values()) <= 45
    assert 210 <= sum(row["Beschreibung"] is None for row in families) <= 230


def test_two_percent_are_orphans_and_some_parents_come_later(full: Store) -> None:
    parents = {row["UID"] for row in full.rows(FAMILIES)}
    orphans = [row["Familie_"] for row in full.rows(VARIANTS) if row["Familie_"] not in parents]
    later = {row["UID"] for _, row in full.arriving}
    assert 60 <= len(orphans) <= 90
    assert later <= set(orphans)


def test_the_other_tables_fit_in_size(full: Store) -> None:
    sizes = {name: len(table) for name, table in full.tables.items()}
    assert sizes == {
        "Artikel_Familie": 1600,
        "Artikel_Variante": 4300,
        "Kunden": 6000,
        "Adressen": 8000,
        "Personal": 140,
        "Stamm_Lagerorte": 923,
        "parameter": 42,
        "Stamm_Lager_Schuetten": 4216,
        "Stamm_Lager_Schuetten_Slots": 4600,
        "Artikel_Lagerorte": 3119,
        "Lager_Schuetten": 2400,
        "Formen": 420,
        "Form_Artikel": 900,
        "Werksauftraege": 2600,
        "WerksauftrPos": 6500,
        "Belege": 30_000,
        "Belege_Pos": 78_000,
    }
    assert [table.name for table in ALL_TABLES] == list(sizes)


def test_products_stay_the_same_whatever_happens_to_other_tables() -> None:
    store = build_store(3, 40, 110)
    rows = b"".join(payload or b"" for name in (FAMILIES, VARIANTS) for payload in store.tables[name].payloads)
    assert hashlib.sha256(rows).hexdigest().startswith("7ad259149ba0cc30")


@pytest.mark.parametrize("definition", ALL_TABLES, ids=lambda definition: definition.name)
def test_rows_look_as_the_server_would_have_saved_them(small: Store, definition: TableDef) -> None:
    names = ["__KEY", "__TIMESTAMP", "__STAMP", *(attribute.name for attribute in definition.attributes)]
    rows = small.rows(definition.name)
    assert all(list(row) == names for row in rows)
    assert {row["__KEY"] for row in rows} == {row[definition.key] for row in rows}
    assert len({row["__KEY"] for row in rows}) == len(rows)
    assert {"created_date", "created_time", "modified_name", "modified_date", "modified_time"} < set(names)


@pytest.mark.parametrize("definition", ALL_TABLES, ids=lambda definition: definition.name)
def test_every_attribute_says_something_somewhere(full: Store, definition: TableDef) -> None:
    nothing = (None, "", 0, False, "0!0!0", {})
    rows = full.rows(definition.name)
    silent = [a.name for a in definition.attributes if all(row[a.name] in nothing for row in rows)]
    assert silent == []


def test_a_tiny_database_has_rows_in_every_table_at_once() -> None:
    build_store(1, 20, 50)
    begin = time.process_time()
    store = build_store(2, 20, 50)
    assert time.process_time() - begin < 0.3
    assert min(len(table) for table in store.tables.values()) >= 12
    assert sum(len(table) for table in store.tables.values()) < 2500


def _text_in(name: str) -> Callable[[Row], bool]:
    return lambda row: isinstance(row[name], str)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (FAMILIES, lambda row: isinstance(row["Beschreibung"], dict)),
        (FAMILIES, lambda row: str(row["Beschreibung"]).startswith('{"DE"')),
        (FAMILIES, lambda row: row["Release_date"] == "0!0!0"),
        (FAMILIES, lambda row: row["Release_date"] == "4!6!92"),
        (VARIANTS, lambda row: row["Release_date"] == "31!2!2018"),
        (VARIANTS, lambda row: row["Release_date"] == "01!06!2020"),
        (VARIANTS, lambda row: row["Gewicht"] == "ca. 12"),
        (VARIANTS, lambda row: "\x00" in str(row["Beschreibung_ENG"])),
        (VARIANTS, lambda row: len(str(row["ArtikelArt"])) > 10),
        (VARIANTS, lambda row: row["refOld"] == 0),
        (VARIANTS, lambda row: not str(row["Bezeichnung"] or "").strip()),
        (VARIANTS, _text_in("Preise")),
        (VARIANTS, _text_in("Nummer")),
        (FAMILIES, _text_in("aktiv")),
        (VARIANTS, lambda row: row["Preise"] == {"Coll": []}),
        (VARIANTS, lambda row: "auf Anfrage" in str(row["Preise"])),
    ],
)
def test_surprise_is_in_the_data(full: Store, table: str, found: Callable[[Row], bool]) -> None:
    share = sum(found(row) for row in full.rows(table)) / len(full.rows(table))
    assert 0 < share < 0.3


def test_numbers_are_doubled_once_and_old_numbers_often(full: Store) -> None:
    for table in (FAMILIES, VARIANTS):
        numbers = Counter(str(row["Nummer"]) for row in full.rows(table))
        assert sorted(numbers.values())[-2:] == [1, 2]
    old = Counter(row["alteNummer"] for row in full.rows(VARIANTS))
    assert sum(count > 1 for count in old.values()) > 50


def test_most_rows_were_last_changed_more_than_two_years_ago(full: Store) -> None:
    years = [int(str(row["modified_date"]).split("!")[2]) for row in full.rows(VARIANTS)]
    assert sum(year < 2023 for year in years) / len(years) > 0.6
    assert len(set(years)) > 5


def test_small_databases_have_their_surprises_too() -> None:
    store = build_store(5, 40, 110)
    assert any(not str(row["Bezeichnung"] or "").strip() for row in store.rows(VARIANTS))
    assert len(store.rows(FAMILIES)) == 40


def test_a_days_work_is_told_and_visible_over_http() -> None:
    store = build_store(1, 200, 540)
    day = store.clock.local()
    done = change_some(store, seed=2)
    with FourDServer(store) as server:
        query = quote(f"\"modified_date >= '{day:%Y-%m-%d}'\"", safe="")
        rows = requests.get(f"{server.url}/rest/{VARIANTS}?$filter={query}&$top=999", timeout=5).json()["__ENTITIES"]
    assert {row["UID"] for row in rows} == {*done.edited[VARIANTS], *done.inserted[VARIANTS], done.fixed}
    assert store.get(FAMILIES, str(done.arrived))["UID"] == done.arrived
    assert done.waiting


def test_every_edit_of_the_day_differs_from_before() -> None:
    store = build_store(1, 200, 540)
    before = {str(row["UID"]): row for row in store.rows(VARIANTS)}
    done = change_some(store, seed=2)
    for key in done.edited[VARIANTS]:
        after = store.get(VARIANTS, key)
        assert any(after[name] != before[key][name] for name in ("Preise", "Aktiv", "Bezeichnung_ENG"))


def test_a_day_changes_one_row_in_a_hundred_of_every_table() -> None:
    store = build_store(1, 400, 1075)
    sizes = {name: len(table) for name, table in store.tables.items()}
    before = {name: {str(row["__KEY"]): row for row in store.rows(name)} for name in sizes}
    done = change_some(store, seed=2)
    assert {name: len(keys) for name, keys in done.edited.items()} == {n: max(1, s // 100) for n, s in sizes.items()}
    for name, keys in done.edited.items():
        assert all(_content(store.get(name, key)) != _content(before[name][key]) for key in keys)


def _content(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.startswith(("__", "modified_"))}


def test_a_day_adds_rows_that_refer_to_each_other() -> None:
    store = build_store(1, 40, 110)
    done = change_some(store, seed=2)
    added = {name: [store.get(name, key) for key in keys] for name, keys in done.inserted.items()}
    assert [name for name, rows in added.items() if not rows] == ["parameter"]
    documents = {row["AbsNr"] for row in added[DOCUMENTS]}
    assert len(documents) == 5
    assert {row["AbsNr"] for row in added[POSITIONS]} == documents
    assert {row["AdrNr"] for row in added["Kunden"]} == {row["AdrNr"] for row in added["Adressen"]}
    assert {row["UUID_Stamm_Lagerorte"] for row in added["Artikel_Lagerorte"]} == {added["Stamm_Lagerorte"][0]["UUID"]}


def test_numbers_stay_unique_over_many_days() -> None:
    store = build_store(1, 40, 110)
    for seed in range(4):
        change_some(store, seed)
    for name, number in (("Kunden", "KundenNr"), ("Stamm_Lager_Schuetten", "ID"), ("Werksauftraege", "WerkAufNr")):
        assert max(Counter(str(row[number]) for row in store.rows(name)).values()) == 1
    assert max(Counter((str(row["AbsNr"]), str(row["PosNr"])) for row in store.rows(POSITIONS)).values()) == 1


def test_the_same_day_gives_the_same_work() -> None:
    first, again = (change_some(build_store(1, 60, 160), seed=9) for _ in range(2))
    assert first.edited == again.edited
    assert first.inserted == again.inserted
    assert first.fixed == again.fixed


def test_a_large_table_costs_the_page_not_the_table() -> None:
    server = FourDServer(wide_table(50_000))
    begin, last, rows = time.process_time(), "", 0
    while True:
        query = f"$filter=%22UID%20%3E%20:1%22&$params='[\"{last}\"]'&$orderby=UID&$top=1000"
        cookie = next(iter(server.sessions.live), "")
        body = server.api.handle(Request("GET", f"/rest/{BENCH}?{query}", {"cookie": f"WASID4D={cookie}"})).body
        place = body.rfind(b'"UID":"')
        if place < 0:
            break
        last, rows = body[place + 7 : place + 39].decode(), rows + body.count(b'"UID":"')
    assert rows == 50_000
    assert time.process_time() - begin < 1  # 51 scans of the table would take many seconds


def test_one_percent_of_the_large_table_changes() -> None:
    store = wide_table(5000)
    changed = change_bench(store)
    assert len(set(changed)) == 50
    assert store.get(BENCH, changed[0])["Bemerkung"] == "geändert"
    assert len(store.get(BENCH, changed[0])) == 23


def test_a_window_of_a_large_table_is_the_same_however_it_is_found() -> None:
    table = wide_table(6000).tables[BENCH]
    window = parse_filter(table, "modified_date >= '2024-01-01' and modified_date < '2024-02-01'", None).condition
    found = select(table, window, (("UID", False),)).page(0, -1)
    months = [str(table.decoded(slot)["modified_date"]).split("!")[1:] for slot in range(6000)]
    assert found == [slot for slot in range(6000) if months[slot] == ["1", "2024"]]
    assert select(table, window, ()).page(0, -1) == found
