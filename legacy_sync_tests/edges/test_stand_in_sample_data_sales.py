"""Are thirty years of documents and positions believable, and as inconsistent as clerks make them?"""

from collections import Counter
from collections.abc import Callable

import pytest

from legacy_sync.demo.four_d_server import Store
from legacy_sync.demo.four_d_server.store import Row
from legacy_sync.demo.sample_data import CUSTOMERS, DOCUMENTS, POSITIONS, VARIANTS, build_store


@pytest.fixture(scope="module")
def store() -> Store:
    return build_store(seed=1, families=400, variants=1075)


@pytest.fixture(scope="module")
def documents(store: Store) -> list[Row]:
    return store.rows(DOCUMENTS)


@pytest.fixture(scope="module")
def positions(store: Store) -> list[Row]:
    return store.rows(POSITIONS)


def test_documents_go_back_to_1992_with_gaps_between_their_numbers(documents: list[Row]) -> None:
    keys = [row["AbsNr"] for row in documents if isinstance(row["AbsNr"], int)]
    assert keys == sorted(set(keys))
    assert len(keys) == len(documents)
    assert keys[-1] - keys[0] > 1.3 * len(keys)
    assert documents[0]["Datum"] == "4!6!1992"
    assert str(documents[-1]["Datum"]).endswith("2025")


def test_a_number_is_there_once_among_its_kind_with_few_exceptions(documents: list[Row]) -> None:
    kinds: dict[object, set[object]] = {}
    for row in documents:
        kinds.setdefault(row["Papierart"], set()).add(row["PapierNr"])
    twice = Counter((row["Papierart"], row["PapierNr"]) for row in documents)
    assert set(kinds) == {"R", "A", "L", "G", "B", "X", ""}
    assert len(kinds["R"] & kinds["L"] & kinds["B"]) > 300
    assert 1 <= sum(count - 1 for count in twice.values()) <= 10


def test_customers_are_known_except_few(store: Store, documents: list[Row]) -> None:
    known = {str(row["KundenNr"]) for row in store.rows(CUSTOMERS)}
    unknown = [row["KundenNr"] for row in documents if str(row["KundenNr"]) not in known]
    assert {0, None} < set(unknown)
    assert 0.003 < len(unknown) / len(documents) < 0.01


def test_documents_that_cannot_be_loaded_stay_below_two_percent(documents: list[Row]) -> None:
    undated = sum(row["Datum"] in ("0!0!0", "31!2!2018") for row in documents)
    without_term = sum(row["NettoTage"] is None for row in documents)
    without_customer = sum(not row["KundenNr"] for row in documents)
    assert min(undated, without_term, without_customer) > 0
    assert undated + without_term + without_customer < 0.02 * len(documents)


def test_positions_belong_to_documents_except_few(documents: list[Row], positions: list[Row]) -> None:
    sizes = Counter(str(row["AbsNr"]) for row in positions)
    keys = {str(row["AbsNr"]) for row in documents}
    lost = sum(size for key, size in sizes.items() if key not in keys)
    assert 0.0005 < lost / len(positions) < 0.003
    assert 0.01 < len(keys - set(sizes)) / len(keys) < 0.03
    assert max(Counter((str(row["AbsNr"]), str(row["PosNr"])) for row in positions).values()) == 1


def test_articles_are_mostly_there_sometimes_gone_or_doubled(store: Store, positions: list[Row]) -> None:
    numbers = Counter(row["alteNummer"] for row in store.rows(VARIANTS))
    counts = Counter(min(numbers[row["ArtNr"]], 2) for row in positions if row["Art"] == "L" and row["ArtNr"])
    assert 0.01 < counts[0] / counts.total() < 0.03
    assert 0.004 < counts[2] / counts.total() < 0.02
    assert {row["Art"] for row in positions} > {"L", "S", "T", "D"}


def test_amounts_follow_from_the_positions_unless_changed_by_hand(positions: list[Row]) -> None:
    plain = [row for row in positions if all(isinstance(row[n], float) for n in ("Menge", "Preis", "Rabatt"))]
    wrong = [row for row in plain if abs(_amount(row) - float(str(row["Pos_Betrag"]))) > 0.011]
    assert 0.005 < len(wrong) / len(plain) < 0.02


def _amount(row: Row) -> float:
    quantity, price, discount = (float(str(row[name])) for name in ("Menge", "Preis", "Rabatt"))
    return quantity * price * (1 - discount / 100)


def test_picking_is_in_every_state(positions: list[Row]) -> None:
    plain = [row for row in positions if isinstance(row["Pick_Menge"], float) and isinstance(row["Menge"], float)]
    states = {(row["Picking_ok"], _share_picked(row)) for row in plain}
    assert states >= {(done, share) for done in (True, False) for share in ("none", "some", "all")}


def _share_picked(row: Row) -> str:
    picked, wanted = float(str(row["Pick_Menge"])), float(str(row["Menge"]))
    return "none" if picked == 0 else "some" if picked < wanted else "all"


def test_money_was_mark_and_is_euro(documents: list[Row]) -> None:
    counts = Counter(row["Währung"] for row in documents)
    assert set(counts) == {"DM", "EUR", "öS", "USD", "", None}
    assert counts["EUR"] > counts["DM"] > 10 * counts[""]
    assert {row["MWSt_Art"] for row in documents} > {"JA", "incl.", "ohne"}


def test_tax_follows_the_rate_of_the_year_or_is_none(documents: list[Row]) -> None:
    rates = {kind: Counter(_tax_rate(row) for row in documents if row["MWSt_Art"] == kind) for kind in ("JA", "ohne")}
    assert {rate for rate, count in rates["JA"].items() if count > 20} - {None} == {14, 15, 16, 19}
    assert rates["ohne"][0] > 0.9 * rates["ohne"].total()


def _tax_rate(row: Row) -> int | None:
    """In percent; None if somebody has typed the amounts, or if they are too small to tell."""
    net, tax = row["Netto"], row["MWST_EUR"]
    return round(100 * tax / net) if isinstance(net, float) and isinstance(tax, float) and net > 20 else None


@pytest.mark.parametrize("table", [DOCUMENTS, POSITIONS])
def test_a_due_date_is_of_any_type(store: Store, table: str) -> None:
    kinds = {type(row["Termin"]) for row in store.rows(table)}
    assert kinds == {type(None), str, int, bool, float, dict}


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (DOCUMENTS, lambda row: row["Datum"] == "0!0!0"),
        (DOCUMENTS, lambda row: str(row["Datum"]).count("-") == 2),
        (DOCUMENTS, lambda row: len(str(row["Datum"]).split("!")[-1]) == 2),
        (DOCUMENTS, lambda row: row["NettoTage"] is None),
        (DOCUMENTS, lambda row: row["Versandart"] == "Deutsche Post Paket International"),
        (DOCUMENTS, lambda row: "," in str(row["Endbetrag"])),
        (DOCUMENTS, lambda row: isinstance(row["KundenNr"], str)),
        (DOCUMENTS, lambda row: "\\r" in str(row["Rech_Adr"])),
        (DOCUMENTS, lambda row: row["Mahnstufe"] == "US"),
        (DOCUMENTS, lambda row: row["bezahlt"] == "0"),
        (POSITIONS, lambda row: "," in str(row["Preis"])),
        (POSITIONS, lambda row: row["Menge"] == -1.0),
        (POSITIONS, lambda row: row["Pick_Menge"] is None),
        (POSITIONS, lambda row: row["Picking_ok"] == "0"),
        (POSITIONS, lambda row: isinstance(row["PosNr"], str)),
        (POSITIONS, lambda row: row["ArtNr"] is None),
    ],
)
def test_surprise_is_in_the_data(store: Store, table: str, found: Callable[[Row], bool]) -> None:
    rows = store.rows(table)
    assert 0 < sum(found(row) for row in rows) / len(rows) < 0.2


def test_addresses_have_the_line_ends_of_an_old_mac(documents: list[Row]) -> None:
    lines = Counter(str(row["Rech_Adr"]).count("\r") for row in documents)
    assert lines[2] > 0.95 * len(documents)
