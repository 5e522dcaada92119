"""Do days stay the days that 4D says, in every column, spelling and time zone?"""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from scenarios_setup import WholeShop
from shop_setup import Shop

from legacy_sync.erp.catalog import find_table

SPELLINGS = {"12!03!18": date(2018, 3, 12), "12.03.2018": date(2018, 3, 12), "0!0!0": None, "31!2!2018": None}
IN_DAYS = ("date", "timestamptz")


def day_columns(shop: WholeShop) -> list[tuple[str, str, str, str, bool]]:
    """Every column that takes its day from 4D: entity, column, legacy table and attribute, whether it must be there."""
    found = []
    with shop.workspace.erp() as connection:
        for mapping in shop.mappings:
            table = find_table(connection, mapping.target.table)
            assert table is not None
            for name, field in mapping.fields.items():
                attribute = next((a for a in field.from_ if not a.startswith("__")), None)
                if attribute and table.columns[name].type in IN_DAYS:
                    found.append((mapping.entity, name, mapping.source.table, attribute, field.required))
    return found


def the_day(value: Any) -> date | None:
    return value.astimezone(UTC).date() if isinstance(value, datetime) else value


def test_every_day_column_reads_short_years_and_leaves_impossible_days_empty(whole_shop: WholeShop):
    columns = day_columns(whole_shop)
    rows = {entity: whole_shop.rows_of(entity) for entity, *_ in columns}
    wanted: dict[tuple[str, str, str], date | None] = {}
    for entity, column, table, attribute, required in columns:
        for key, (text, day) in zip(rows[entity], SPELLINGS.items(), strict=False):
            old = whole_shop.store.get(table, key)
            names = [a for a in old if a.lower() == attribute.lower()]
            whole_shop.store.update(table, key, dict.fromkeys(names, text))
            kept = the_day(rows[entity][key][column])
            wanted[entity, column, key] = kept if day is None and required else day
    reports = whole_shop.import_all()
    after = {entity: whole_shop.rows_of(entity) for entity in rows}
    found = {(entity, column, key): the_day(after[entity][key][column]) for entity, column, key in wanted}
    assert found == wanted
    assert len(columns) >= 10
    for entity, column, _, _, required in columns:
        assert required or f"{column}: invalid value replaced" in reports[entity].warnings, (entity, column)


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose clock stands in Auckland."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_away")
def test_days_and_instants_do_not_depend_on_time_zones_of_process_and_database(shop: Shop):
    name = shop.query("select current_database() as name")[0]["name"]
    shop.execute(f"alter database \"{name}\" set timezone = 'America/Lima'")
    shop.save("Artikel_Familie", 1, Nummer=1, Bezeichnung="Hase", Release_date="1!7!2018")
    key = shop.save("Kunden", 2, KundenNr=77)
    shop.document(5, Datum="1!1!1999", ZahlungsDat="31!12!2023", bezahlt=True)
    for entity in ("products_parentproduct", "sales_customer", "sales_salesrecord"):
        shop.run(entity)
    (family,) = shop.query("select release_date from products_parentproduct")
    (document,) = shop.query("select record_date, payment_date from sales_salesrecord")
    (customer,) = shop.query("select legacy_modified from sales_customer")
    assert family["release_date"] == datetime(2018, 7, 1, tzinfo=UTC)
    assert document == {"record_date": date(1999, 1, 1), "payment_date": date(2023, 12, 31)}
    saved = str(shop.store.get("Kunden", key)["__TIMESTAMP"])
    assert customer["legacy_modified"] == datetime.fromisoformat(saved)
