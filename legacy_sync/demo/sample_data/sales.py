"""What has been sold since 1992? Documents of five kinds and their positions.

A document's number is unique only among its kind. Amounts follow from the positions, except where somebody has
changed them by hand; old amounts are in Mark. AbsNr is a number in every row: tables are read in slices of it, and
a server that stores numbers finds each of them, however it spells them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from typing import NamedTuple

from legacy_sync.demo.four_d_server.store import Row, Store, TableDef
from legacy_sync.demo.sample_data.desk import Desk, another, as_number
from legacy_sync.demo.sample_data.every_row import (
    AUDIT,
    CLERKS,
    NO_DATE,
    UID,
    Wanted,
    attributes,
    audit_between,
    audit_of,
    fill,
    new_uuid,
    simple,
)
from legacy_sync.demo.sample_data.partners import Customer
from legacy_sync.demo.sample_data.products import Article, Articles
from legacy_sync.demo.sample_data.surprises import (
    few,
    numbers_as_text,
    ruin,
    some,
    sprinkle,
    with_comma,
)
from legacy_sync.demo.sample_data.table_names import CUSTOMERS, DOCUMENTS, POSITIONS, VARIANTS

DOCUMENT_TABLE = TableDef(
    DOCUMENTS,
    number=40,
    attributes=(
        UID,
        *attributes(
            AbsNr="long indexed",
            Papierart="string",
            PapierNr="long indexed",
            Datum="date indexed",
            KundenNr="long indexed",
            Bearbeiter="string",
            Preisgruppe="string",
            Rabatt="number",
            Zahlungsart_A="string",
            Versandart="string",
            MWSt_Art="string",
            Netto="number",
            MWST_EUR="number",
            Endbetrag="number",
            Frachtkosten="number",
            Bearbeitungskos="number",
            Lief_Adr="string",
            Rech_Adr="string",
            SkontoTage="long",
            NettoTage="long",
            Skonto_G="number",
            ZahlungBetrag="number",
            ZahlungsDat="date",
            ZahlungWaehr="string",
            Mahnstufe="string",
            bezahlt="bool",
            Währung="string",
            Text="string",
            Termin="object",
        ),
        *AUDIT,
    ),
)
POSITION_TABLE = TableDef(
    POSITIONS,
    number=41,
    attributes=(
        UID,
        *attributes(
            AbsNr="long indexed",
            PosNr="long",
            ArtNr="string indexed",
            Bezeichnung="string",
            Menge="number",
            Preis="number",
            Rabatt="number",
            Pos_Betrag="number",
            Art="string",
            Pick_Menge="number",
            Picking_ok="bool",
            PreOrder="bool",
            Anmerkung="string",
            Termin="object",
        ),
        *AUDIT,
    ),
)

KINDS = ("R", "A", "L", "G", "B")
_KINDS = "RRRRRRRRRLLLLLBBBAAG"  # how often each occurs
_FIRST_DAY = date(1992, 6, 4)
_FIRST_KEY = 3_001
_FIRST_NUMBER = 10_001
_TERMS = ((30, 8, 2.0), (30, 8, 2.0), (30, 0, 0.0), (14, 0, 0.0), (60, 14, 3.0), (0, 0, 0.0))  # net, cash days, percent
_TAXES = ("JA", "JA", "JA", "JA", "incl.", "ohne")
_FREIGHT = (0.0, 0.0, 0.0, 5.9, 7.5, 12.0)
_DUES: tuple[object, ...] = (None, None, None, None, None, None, "12!5!2019", "0!0!0", "2024-03-01", "KW 12")
_ODD_DUES: tuple[object, ...] = (20190512, True, {"von": "1!3!2024", "bis": "15!3!2024"}, 12.5, "", "sofort")
_PICKED = ((1.0, True),) * 12 + ((0.0, False),) * 4  # share of the quantity, done
_HALF_PICKED = ((0.0, True), (0.5, False), (0.5, True), (1.0, False))
_OTHER_LINES = (
    ("S", "Versandkosten", 590),
    ("S", "Bemalung nach Wunsch", 1500),
    ("T", "Bitte beachten Sie unsere neuen Öffnungszeiten.\rVielen Dank!", 0),
    ("D", "Treuerabatt", -500),
)
_GONE = ("BE", "BL", "GO")
_NOBODY = 1_999_001


class Moment(NamedTuple):
    """When a document was written, and when it was touched last."""

    day: date
    changed: date


def add_sales(store: Store, wanted: Wanted, articles: Articles, customers: list[Customer]) -> None:
    """Both tables."""
    dice = wanted.dice(DOCUMENTS)
    documents = _documents(dice, customers, wanted.rows(30_000), wanted.today)
    position_dice = wanted.dice(POSITIONS)
    positions = _positions(position_dice, documents, articles.sound, wanted.rows(78_000))
    _spoil_documents(dice, documents)
    _spoil_positions(position_dice, positions, articles.doubled)
    fill(store, DOCUMENT_TABLE, documents)
    fill(store, POSITION_TABLE, positions)


# --- clean rows ----------------------------------------------------------------------------------


def _documents(dice: random.Random, customers: Sequence[Customer], count: int, today: date) -> list[Row]:
    """One after the other since 1992; numbers were skipped where somebody threw a document away."""
    lot = dice.random
    days = (today - _FIRST_DAY).days
    numbers = dict.fromkeys(KINDS, _FIRST_NUMBER)
    key = _FIRST_KEY
    rows = []
    for place in range(count):
        day = _FIRST_DAY + timedelta(days=days * place // count)
        moment = Moment(day, min(today, day + timedelta(days=int(90 * lot() * lot()))))
        kind = _KINDS[int(lot() * len(_KINDS))]
        customer = customers[int(len(customers) * lot() * lot())]  # some order more often
        rows.append(_document(dice, key, (kind, numbers[kind]), moment, customer))
        numbers[kind] += 1
        key += 1 if lot() < 0.9 else 1 + int(12 * lot())
    return rows


def _document(dice: random.Random, key: int, paper: tuple[str, int], moment: Moment, customer: Customer) -> Row:
    lot = dice.random
    net, cash_days, percent = _TERMS[int(lot() * len(_TERMS))]
    mark = moment.day.year < 2002
    return {
        "UID": new_uuid(dice),
        "AbsNr": key,
        "Papierart": paper[0],
        "PapierNr": paper[1],
        "Datum": simple(moment.day),
        "KundenNr": customer.number,
        "Bearbeiter": CLERKS[int(lot() * len(CLERKS))],
        "Preisgruppe": customer.price_group or None,
        "Rabatt": 3.0 if lot() < 0.1 else 0.0,
        "Zahlungsart_A": customer.payment,
        "Versandart": customer.shipping,
        "MWSt_Art": _TAXES[int(lot() * len(_TAXES))],
        "Netto": 0.0,
        "MWST_EUR": 0.0,
        "Endbetrag": 0.0,
        "Frachtkosten": _FREIGHT[int(lot() * len(_FREIGHT))],
        "Bearbeitungskos": 2.5 if lot() < 0.05 else 0.0,
        "Lief_Adr": customer.address if lot() < 0.7 else "",
        "Rech_Adr": customer.address,
        "SkontoTage": cash_days,
        "NettoTage": net,
        "Skonto_G": percent,
        "ZahlungBetrag": 0.0,
        "ZahlungsDat": NO_DATE,
        "ZahlungWaehr": "",
        "Mahnstufe": "",
        "bezahlt": False,
        "Währung": "DM" if mark else "EUR",
        "Text": "Wie telefonisch besprochen" if lot() < 0.05 else None,
        "Termin": _DUES[int(lot() * len(_DUES))],
        **audit_between(dice, moment.day, moment.changed),
    }


def _positions(dice: random.Random, documents: list[Row], articles: Sequence[Article], count: int) -> list[Row]:
    """All positions in the order of the documents, some of which have none; the documents get their amounts."""
    lot, total = dice.random, len(documents)
    empty = {id(row) for row in some(dice, documents, 0.02)}
    lines = [id(row) not in empty for row in documents]
    sizes = list(map(int, lines))
    missing = count - sum(sizes)
    while missing > 0:
        place = int(lot() * total)
        if lines[place]:
            sizes[place] += 1
            missing -= 1
    rows: list[Row] = []
    for document, size in zip(documents, sizes, strict=True):
        rows += _write_lines(dice, document, articles, size)
    return rows


def _write_lines(dice: random.Random, document: Row, articles: Sequence[Article], count: int) -> list[Row]:
    """The positions of one document, which gets its amounts."""
    saved = audit_of(document)
    rows, cents = [], 0
    for place in range(1, count + 1):
        row, line_cents = _position(dice, document, place, articles)
        row.update(saved)
        rows.append(row)
        cents += line_cents
    _charge(document, cents)
    if document["Papierart"] == "R":
        _pay(dice, document)
    return rows


def _position(dice: random.Random, document: Row, place: int, articles: Sequence[Article]) -> tuple[Row, int]:
    """One line without its audit columns, and its amount in cents."""
    lot = dice.random
    article = articles[int(lot() * len(articles))]
    kind, number, name, price = "L", article.number, article.name, article.cents
    quantity = 1 + int(lot() * lot() * 12)
    if lot() < 0.06:
        kind, name, price = _OTHER_LINES[int(lot() * len(_OTHER_LINES))]
        number, quantity = "", 0 if kind == "T" else 1
    discount = 0.0 if lot() < 0.7 else (5.0, 10.0, 12.5)[int(lot() * 3)]
    cents = round(quantity * price * (100 - discount) / 100)
    share, done = _PICKED[int(lot() * len(_PICKED))] if document["Papierart"] != "A" else (0.0, False)
    if lot() < 0.08:
        share, done = _HALF_PICKED[int(lot() * 4)]
    row: Row = {
        "UID": new_uuid(dice),
        "AbsNr": document["AbsNr"],
        "PosNr": place,
        "ArtNr": number,
        "Bezeichnung": name,
        "Menge": float(quantity),
        "Preis": price / 100,
        "Rabatt": discount,
        "Pos_Betrag": cents / 100,
        "Art": kind,
        "Pick_Menge": quantity * share,
        "Picking_ok": done,
        "PreOrder": lot() < 0.02,
        "Anmerkung": "bitte gut verpacken" if lot() < 0.04 else None,
        "Termin": _DUES[int(lot() * len(_DUES))],
    }
    return row, cents


def _charge(document: Row, cents: int) -> None:
    """Net, tax and total as the program reckoned them in that year."""
    year = int(str(document["Datum"])[-4:])
    percent = 14 if year < 1993 else 15 if year < 1998 else 16 if year < 2007 else 19
    kind = document["MWSt_Art"]
    if document["Rabatt"]:
        cents = cents * 97 // 100
    tax = 0
    if kind == "JA":
        tax = round(cents * percent / 100)
    elif kind == "incl.":
        tax = round(cents * percent / (100 + percent))
        cents -= tax
    extra = float(str(document["Frachtkosten"])) + float(str(document["Bearbeitungskos"]))
    document["Netto"], document["MWST_EUR"] = cents / 100, tax / 100
    document["Endbetrag"] = round((cents + tax) / 100 + extra, 2)


def _pay(dice: random.Random, document: Row) -> None:
    """Nearly every invoice has been paid; the others are reminded of it."""
    if dice.random() < 0.05:
        document["Mahnstufe"] = dice.choice(("US", "M1", "M2", ""))
        return
    document["bezahlt"] = True
    document["ZahlungBetrag"] = document["Endbetrag"]
    document["ZahlungsDat"] = document["modified_date"]
    document["ZahlungWaehr"] = document["Währung"]


# --- surprises -----------------------------------------------------------------------------------


def _spoil_documents(dice: random.Random, rows: list[Row]) -> None:
    numbers_as_text(dice, rows, "KundenNr", 0.005)
    ruin(dice, rows, "KundenNr", 0.004, _NOBODY, _NOBODY + 1, _NOBODY + 2)
    ruin(dice, rows, "KundenNr", 0.003, 0, None)
    ruin(dice, rows, "Datum", 0.001, NO_DATE)
    ruin(dice, rows, "Datum", 0.0002, "31!2!2018")
    ruin(dice, rows, "NettoTage", 0.003, None)
    for row in few(dice, rows, 0.0005):
        twin = dice.choice(rows)
        row["Papierart"], row["PapierNr"] = twin["Papierart"], twin["PapierNr"]
    for row in some(dice, rows, 0.02):
        row["Datum"] = _another_spelling(dice, str(row["Datum"]))
    _spoil_amounts(dice, rows)
    _spoil_texts(dice, rows)
    sprinkle(dice, rows, "Papierart", 0.0005, "X", "")
    sprinkle(dice, rows, "bezahlt", 0.01, "1", "0", None, 1)
    sprinkle(dice, rows, "ZahlungsDat", 0.01, "20!10!14", "31!2!2018", None)
    sprinkle(dice, rows, "Termin", 0.02, *_ODD_DUES)


def _another_spelling(dice: random.Random, text: str) -> str:
    if text.count("!") != 2 or text.endswith("!0"):
        return text
    day, month, year = text.split("!")
    full = f"{int(year):04d}-{int(month):02d}-{int(day):02d}"
    return dice.choice(
        (f"{day}!{month}!{year[2:]}", f"{int(day):02d}!{int(month):02d}!{year}", full, f"{full}T00:00:00.000Z")
    )


def _spoil_amounts(dice: random.Random, rows: list[Row]) -> None:
    for name in ("Netto", "Endbetrag", "Frachtkosten"):
        with_comma(dice, rows, name, 0.001)
    sprinkle(dice, rows, "MWST_EUR", 0.003, None, 19.005, "")
    sprinkle(dice, rows, "Endbetrag", 0.001, 1805.535)
    sprinkle(dice, rows, "Rabatt", 0.002, None, "3,0")
    sprinkle(dice, rows, "SkontoTage", 0.002, "8", 8.0)
    sprinkle(dice, rows, "Skonto_G", 0.002, "2,0", 2.125)


def _spoil_texts(dice: random.Random, rows: list[Row]) -> None:
    for place, row in enumerate(some(dice, rows, 0.01)):
        row["Rech_Adr"] = str(row["Rech_Adr"]).replace("\r", ("\\r", "\n", ", ")[place % 3])
    sprinkle(dice, rows, "Lief_Adr", 0.003, None, "Abholung", "Fa. Muster\rPostfach 12\rLondon")
    sprinkle(dice, rows, "Währung", 0.02, "", None)
    sprinkle(dice, rows, "Währung", 0.004, "öS", "USD")
    sprinkle(dice, rows, "Versandart", 0.002, None, "Lieferung frei Haus durch unseren eigenen Fahrer")
    sprinkle(dice, rows, "Zahlungsart_A", 0.002, None, "auf Rechnung ")
    sprinkle(dice, rows, "MWSt_Art", 0.003, "", None, "Ohne")
    sprinkle(dice, rows, "Text", 0.002, "Zeile 1\rZeile 2", "")


def _spoil_positions(dice: random.Random, rows: list[Row], doubled: list[str]) -> None:
    ruin(dice, rows, "AbsNr", 0.001, *range(1, _FIRST_KEY, 7))  # thrown away long ago
    numbers_as_text(dice, rows, "PosNr", 0.003)
    goods = [row for row in rows if row["Art"] == "L"]
    for row in some(dice, goods, 0.02):
        row["ArtNr"] = f"{4_000 + dice.randrange(5_000)}-{dice.choice(_GONE)}"
    sprinkle(dice, goods, "ArtNr", 0.008, *doubled)
    sprinkle(dice, goods, "ArtNr", 0.002, None, "  ")
    sprinkle(dice, rows, "Pos_Betrag", 0.01, 0.0, 33.75, 99.99)  # changed by hand
    sprinkle(dice, rows, "Menge", 0.003, -1.0, 0.0, 2.5, "3", None)
    sprinkle(dice, rows, "Preis", 0.003, 12.505, 0.333, None)
    with_comma(dice, rows, "Preis", 0.002)
    sprinkle(dice, rows, "Rabatt", 0.003, None, "10", 33.333)
    sprinkle(dice, rows, "Pick_Menge", 0.005, None, "2", 99.0)
    sprinkle(dice, rows, "Picking_ok", 0.005, "0", "1", None)
    sprinkle(dice, rows, "Bezeichnung", 0.002, None, "")
    sprinkle(dice, rows, "Art", 0.002, "", None, "X")
    sprinkle(dice, rows, "Termin", 0.02, *_ODD_DUES)


# --- a day's work --------------------------------------------------------------------------------


def work_on_sales(desk: Desk) -> None:
    """Invoices are paid, older documents are picked, and five new documents come with their positions."""
    dice, today = desk.dice, desk.store.clock.local().date()
    desk.edit(DOCUMENTS, partial(_edit_document, paid=simple(today)))
    desk.edit(POSITIONS, _pick)
    key, numbers = _next_numbers(desk.store)
    articles = [_article(dice, row) for row in desk.store.rows(VARIANTS) if row["alteNummer"]]
    for place, kind in enumerate(("R", "L", "B", "A", "R")):
        document = _document(dice, key + place, (kind, numbers[kind]), Moment(today, today), _customer(desk))
        numbers[kind] += 1
        positions = _write_lines(dice, document, articles, 1 + place % 4)
        desk.add(DOCUMENTS, document)
        for position in positions:
            desk.add(POSITIONS, position)


def _next_numbers(store: Store) -> tuple[int, dict[str, int]]:
    rows = store.rows(DOCUMENTS)
    numbers = dict.fromkeys(KINDS, _FIRST_NUMBER)
    for row in rows:
        kind = str(row["Papierart"])
        numbers[kind] = max(numbers.get(kind, 0), as_number(row["PapierNr"]) + 1)
    return 1 + max(as_number(row["AbsNr"]) for row in rows), numbers


def _article(dice: random.Random, row: Row) -> Article:
    return Article(str(row["alteNummer"]), 0, "", str(row["Bezeichnung"]), dice.randrange(400, 9000))


def _customer(desk: Desk) -> Customer:
    row = desk.pick(CUSTOMERS)
    address = "Fa. Muster\rHauptstr. 1\r86911 Dießen"
    return Customer(as_number(row["KundenNr"]), address, str(row["Zahlungsart"]), str(row["Versandart"]), "Standard")


def _edit_document(dice: random.Random, row: Row, paid: str) -> Row:
    if row["Papierart"] == "R" and row["bezahlt"] is False:
        amount, currency = row["Endbetrag"], row["Währung"]
        return {"bezahlt": True, "ZahlungBetrag": amount, "ZahlungWaehr": currency, "ZahlungsDat": paid}
    return {"Text": f"Kopie am {dice.randrange(1, 29)}. verschickt, Nr. {dice.randrange(10**6)}"}


def _pick(dice: random.Random, row: Row) -> Row:
    if row["Picking_ok"] is True:
        return {"Pick_Menge": another(dice, (1.0, 2.0, 3.0), row["Pick_Menge"])}
    return {"Picking_ok": True, "Pick_Menge": row["Menge"]}
