"""Do customers and addresses find each other, and are they and the employees as spoilt as in real life?"""

from collections import Counter
from collections.abc import Callable

import pytest

from legacy_sync.demo.four_d_server import Store
from legacy_sync.demo.four_d_server.store import Row
from legacy_sync.demo.sample_data import ADDRESSES, CUSTOMERS, EMPLOYEES, build_store

Found = Callable[[Row], bool]


@pytest.fixture(scope="module")
def store() -> Store:
    return build_store(seed=1)


def _number(value: object) -> str:
    return str(value).strip()


def test_most_customers_have_one_address_and_some_several_or_none(store: Store) -> None:
    addresses = Counter(_number(row["AdrNr"]) for row in store.rows(ADDRESSES))
    counts = Counter(min(addresses[_number(row["AdrNr"])], 2) for row in store.rows(CUSTOMERS))
    assert counts[1] > 2 * counts[2] > 20 * counts[0] > 0


def test_few_addresses_belong_to_nobody_or_to_two(store: Store) -> None:
    owners = Counter(_number(row["AdrNr"]) for row in store.rows(CUSTOMERS))
    counts = Counter(owners[_number(row["AdrNr"])] for row in store.rows(ADDRESSES))
    assert 30 <= counts[0] <= 60
    assert 5 <= counts[2] <= 40
    assert counts[1] > 0.96 * counts.total()


def test_customer_numbers_have_seven_digits_and_are_there_once(store: Store) -> None:
    numbers = [str(row["KundenNr"]) for row in store.rows(CUSTOMERS)]
    assert {len(number) for number in numbers} == {7}
    assert len(set(numbers)) == len(numbers)


def _is(name: str, *values: object) -> Found:
    return lambda row: any(row[name] is value or (row[name] == value and row[name] is not False) for value in values)


def _is_text(name: str) -> Found:
    return lambda row: isinstance(row[name], str)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (CUSTOMERS, _is_text("KundenNr")),
        (CUSTOMERS, _is_text("AdrNr")),
        (CUSTOMERS, _is("AdrNr", None)),
        (CUSTOMERS, _is("Liefersperre", "0", "1")),
        (CUSTOMERS, _is("Kreditlimit", 2500.125)),
        (CUSTOMERS, _is("Kreditlimit", "5000,00")),
        (CUSTOMERS, _is("Rabatt", 33.333)),
        (CUSTOMERS, _is("SkontoTage", "8.0")),
        (CUSTOMERS, _is("UStID_Dat", "4!6!92")),
        (CUSTOMERS, _is("UStID_Dat", "31!2!2018")),
        (CUSTOMERS, _is("letzteLieferung", "12!03!18")),
        (CUSTOMERS, lambda row: len(str(row["Preisgru"])) > 10),
        (CUSTOMERS, lambda row: len(str(row["Versandart"])) > 20),
        (ADDRESSES, _is_text("AdrNr")),
        (ADDRESSES, lambda row: str(row["AdrNr"]).startswith(" ")),
        (ADDRESSES, _is("e_Mail", "max.muster_example.de")),
        (ADDRESSES, _is("e_Mail", "jo hn@exa-mple")),
        (ADDRESSES, _is("Land", "Frankreich")),
        (ADDRESSES, lambda row: "\r" in str(row["Telefon"])),
        (EMPLOYEES, lambda row: not str(row["Name"] or "").strip()),
        (EMPLOYEES, lambda row: not str(row["Vorname"] or "").strip()),
        (EMPLOYEES, _is_text("Pers_Nr")),
        (EMPLOYEES, _is("anwesend", None)),
        (EMPLOYEES, _is("Jahres_Gehalt", 41_234.567)),
        (EMPLOYEES, _is_text("Brutto_lohn")),
        (EMPLOYEES, _is("eMail", "jo hn@exa-mple")),
        (EMPLOYEES, _is("GebDatum", "15!04!85")),
        (EMPLOYEES, lambda row: str(row["Eintrittsdatum"]).startswith("0")),
    ],
)
def test_surprise_is_in_the_data(store: Store, table: str, found: Found) -> None:
    rows = store.rows(table)
    share = sum(found(row) for row in rows) / len(rows)
    assert 0 < share < 0.45
