"""Whom does the maker deal with? Customers, their addresses, and the people who work there.

Customers and addresses know each other by AdrNr only. Numbers and flags arrive as text now and then, e-mail
addresses are as somebody understood them on the telephone.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import NamedTuple

from legacy_sync.demo.four_d_server.store import Row, Store, TableDef
from legacy_sync.demo.sample_data.desk import Desk, another
from legacy_sync.demo.sample_data.every_row import (
    AUDIT,
    NO_DATE,
    UID,
    Wanted,
    attributes,
    audit,
    fill,
    new_uuid,
    padded,
    simple,
)
from legacy_sync.demo.sample_data.surprises import few, numbers_as_text, ruin, sprinkle
from legacy_sync.demo.sample_data.table_names import ADDRESSES, CUSTOMERS, EMPLOYEES

CUSTOMER_TABLE = TableDef(
    CUSTOMERS,
    number=2,
    attributes=(
        UID,
        *attributes(
            KundenNr="long indexed",
            AdrNr="long indexed",
            Kundengr="string",
            Liefersperre="bool",
            Preisgru="string",
            USt_IdNr="string",
            UStID_Dat="date",
            Zahlungsart="string",
            Versandart="string",
            Kreditlimit="number",
            Rabatt="number",
            SkontoTage="long",
            NettoTage="long",
            letzteLieferung="date",
        ),
        *AUDIT,
    ),
)
ADDRESS_TABLE = TableDef(
    ADDRESSES,
    number=3,
    attributes=(
        UID,
        *attributes(
            AdrNr="long indexed",
            Anrede="string",
            Vorname="string",
            Name1="string",
            Name2="string",
            Strasse="string",
            Land="string",
            PLZ="string",
            Ort="string",
            Telefon="string",
            Fax="string",
            e_Mail="string",
            Ansprechp="string",
            Briefanrede="string",
        ),
        *AUDIT,
    ),
)
EMPLOYEE_TABLE = TableDef(
    EMPLOYEES,
    number=4,
    attributes=(
        UID,
        *attributes(
            Pers_Nr="long indexed",
            Name="string",
            Vorname="string",
            Straße="string",
            PLZ="string",
            Ort="string",
            eMail="string",
            Telefon="string",
            Telefon2="string",
            Arb_Std_Wo="number",
            Arb_Std_Tag="number",
            anwesend="bool",
            ausgeschieden="bool",
            GebDatum="date",
            Eintrittsdatum="date",
            Austrittsdatum="date",
            Geh_code="string",
            Jahres_Gehalt="number",
            Brutto_lohn="number",
            Monatsgehalt="number",
            Jahrs_Urlaub="long",
            AD_Name="string",
        ),
        *AUDIT,
    ),
)

PAYMENT_METHODS = ("auf Rechnung", "auf Rechnung", "auf Rechnung", "Vorkasse", "Bankeinzug", "PayPal", "Nachnahme", "")
SHIPPING_METHODS = ("UPS", "UPS", "DHL", "DHL", "Spedition", "Selbstabholer", "Deutsche Post Paket International", "")
PRICE_GROUPS = ("Standard", "Standard", "Handel", "Export", "")
_GROUPS = ("Retail", "Fachhandel", "Großhandel", "Museum", "Export", "")
_WOMEN = ("Anna", "Käthe", "Ingrid", "Renate", "Sabine", "Jane", "Gisela", "Ute")
_MEN = ("Jürgen", "Hans-Peter", "Günther", "Karl", "John", "Ludwig", "Søren", "Willi")
_NAMES = ("Müller", "Schäfer", "Huber", "Doe", "Weiß", "Großmann", "Fink", "Babette-Schweizer", "Kühn", "Öttl", "Maier")
_FIRMS = ("Zinnstube", "Spielwaren", "Geschenkhaus", "Museumsladen", "Weihnachtsmarkt", "Antik & Zinn")
_STREETS = ("Hauptstr.", "Herrenstraße", "Am Markt", "Bahnhofstr.", "Weg", "Rue de l'Église", "Fischergasse")
_TOWNS = (
    ("Deutschland", "86911", "Dießen"),
    ("Deutschland", "80331", "München"),
    ("DE", "50667", "Köln"),
    ("D", "01067", "Dresden"),
    ("Germany", "90402", "Nürnberg"),
    ("", "22305", "Hamburg"),
    ("Österreich", "5020", "Salzburg"),
    ("AT", "1010", "Wien"),
    ("Schweiz", "8001", "Zürich"),
    ("USA", "10001", "New York"),
)
_DOMAINS = ("example.com", "zinn.example.de", "web.example", "gmx.example")
_BAD_MAILS = (
    "max.muster_example.de",
    "jo hn@exa-mple",
    " Jane.Doe@EXAMPLE.com ",
    "keine",
    "@web.example",
    "info@firma",
    "a@b@c.de",
    "hans,huber@example.de",
)
_ASCII = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ö": "Oe", "ø": "o", " ": "-"})


class Customer(NamedTuple):
    """What a clerk copies from a customer into a document."""

    number: int
    address: str
    payment: str
    shipping: str
    price_group: str


def add_partners(store: Store, wanted: Wanted) -> list[Customer]:
    """The three tables; returns the customers for whoever writes documents."""
    dice = wanted.dice(CUSTOMERS)
    customers = [_customer(dice, place, wanted.today) for place in range(wanted.rows(6000))]
    _misplace_addresses(dice, customers)
    address_dice = wanted.dice(ADDRESSES)
    addresses = _addresses(address_dice, customers, wanted.rows(8000), wanted.today)
    known = _known(customers, addresses)
    _spoil_customers(dice, customers)
    _spoil_addresses(address_dice, addresses)
    fill(store, CUSTOMER_TABLE, customers)
    fill(store, ADDRESS_TABLE, addresses)
    dice = wanted.dice(EMPLOYEES)
    employees = [_employee(dice, place + 1, wanted.today) for place in range(wanted.rows(140))]
    _spoil_employees(dice, employees)
    fill(store, EMPLOYEE_TABLE, employees)
    return known


def _known(customers: list[Row], addresses: list[Row]) -> list[Customer]:
    texts = {row["AdrNr"]: address_text(row) for row in reversed(addresses)}  # the first of several counts
    return [
        Customer(
            int(str(row["KundenNr"])),
            texts.get(row["AdrNr"], ""),
            str(row["Zahlungsart"]),
            str(row["Versandart"]),
            str(row["Preisgru"]),
        )
        for row in customers
    ]


def address_text(row: Row) -> str:
    """The address as it is printed, with the line ends of an old Mac."""
    name = row["Name2"] or f"{row['Vorname']} {row['Name1']}".strip()
    return f"{name}\r{row['Strasse']}\r{row['PLZ']} {row['Ort']}"


# --- clean rows ----------------------------------------------------------------------------------


def _customer(dice: random.Random, place: int, today: date) -> Row:
    private = place % 3 == 0
    return {
        "UID": new_uuid(dice),
        "KundenNr": (1_800_028 if private else 1_100_010) + place,
        "AdrNr": 4_711 + place * 2,
        "Kundengr": "Privat" if private else dice.choice(_GROUPS),
        "Liefersperre": dice.random() < 0.03,
        "Preisgru": dice.choice(PRICE_GROUPS),
        "USt_IdNr": "" if private else f"DE{dice.randrange(10**8, 10**9)}",
        "UStID_Dat": NO_DATE if private else _day(dice, today),
        "Zahlungsart": dice.choice(PAYMENT_METHODS),
        "Versandart": dice.choice(SHIPPING_METHODS),
        "Kreditlimit": dice.choice((0.0, 0.0, 1000.0, 2500.0, 5000.0)),
        "Rabatt": dice.choice((0.0, 0.0, 0.0, 3.0, 5.0, 10.5)),
        "SkontoTage": dice.choice((0, 0, 8, 10, 14)),
        "NettoTage": dice.choice((30, 30, 14, 60, 0)),
        "letzteLieferung": _day(dice, today) if dice.random() < 0.8 else NO_DATE,
        **audit(dice, today),
    }


def _addresses(dice: random.Random, customers: list[Row], count: int, today: date) -> list[Row]:
    """One for nearly every customer, several for some, and a few that belong to nobody."""
    without = {row["UID"] for row in few(dice, customers, 0.005)}
    settled = [row for row in customers if row["AdrNr"] and row["UID"] not in without]
    lost = min(count // 200, count - len(settled))
    owners: list[Row | None] = [*settled, *dice.choices(settled, k=count - len(settled) - lost), *[None] * lost]
    return [
        _address(dice, int(str(owner["AdrNr"])) if owner else 900_001 + place, today, owner)
        for place, owner in enumerate(owners)
    ]


def _address(dice: random.Random, number: int, today: date, customer: Row | None) -> Row:
    woman = dice.random() < 0.5
    first, last = dice.choice(_WOMEN if woman else _MEN), dice.choice(_NAMES)
    private = customer is None or customer["Kundengr"] == "Privat"
    land, code, town = dice.choice(_TOWNS)
    phone = f"0{dice.randrange(10, 9999)}"
    lines = dice.randrange(100, 10**6)
    title = "Frau" if woman else "Herr"
    return {
        "UID": new_uuid(dice),
        "AdrNr": number,
        "Anrede": title if private else dice.choice(("Firma", "Fa.", "")),
        "Vorname": first if private or dice.random() < 0.5 else "",
        "Name1": last,
        "Name2": "" if private else f"{dice.choice(_FIRMS)} {last}",
        "Strasse": f"{dice.choice(_STREETS)} {dice.randrange(1, 120)}",
        "Land": land,
        "PLZ": code,
        "Ort": town,
        "Telefon": f"{phone}/{lines}",
        "Fax": f"{phone}/{lines + 1}" if dice.random() < 0.4 else "",
        "e_Mail": _mail(dice, first, last) if dice.random() < 0.6 else "",
        "Ansprechp": "" if private else f"{first} {last}",
        "Briefanrede": f"Sehr geehrte{'' if woman else 'r'} {title} {last}",
        **audit(dice, today),
    }


def _employee(dice: random.Random, number: int, today: date) -> Row:
    first, last = dice.choice(_WOMEN + _MEN), dice.choice(_NAMES)
    _, code, town = dice.choice(_TOWNS[:2])
    hired = today - timedelta(days=dice.randrange(30, 12_000))
    left = dice.random() < 0.4
    hours, yearly = dice.choice((40.0, 38.5, 30.0, 20.0)), dice.randrange(24_000, 66_000, 600) * 1.0
    return {
        "UID": new_uuid(dice),
        "Pers_Nr": number,
        "Name": last,
        "Vorname": first,
        "Straße": f"{dice.choice(_STREETS)} {dice.randrange(1, 60)}",
        "PLZ": code,
        "Ort": town,
        "eMail": _mail(dice, first, last) if dice.random() < 0.8 else None,
        "Telefon": f"08807/{dice.randrange(1000, 9999)}",
        "Telefon2": f"0171/{dice.randrange(10**6, 10**7)}" if dice.random() < 0.5 else None,
        "Arb_Std_Wo": hours,
        "Arb_Std_Tag": hours / 5,
        "anwesend": not left and dice.random() < 0.9,
        "ausgeschieden": left,
        "GebDatum": padded(hired - timedelta(days=dice.randrange(6_000, 18_000))),
        "Eintrittsdatum": padded(hired),
        "Austrittsdatum": padded(hired + (today - hired) // 2) if left else NO_DATE,
        "Geh_code": dice.choice(("A", "B", "C", "")),
        "Jahres_Gehalt": yearly,
        "Brutto_lohn": yearly / 12,
        "Monatsgehalt": yearly / 12,
        "Jahrs_Urlaub": dice.choice((30, 28, 24)),
        "AD_Name": f"{first[0]}{last}".lower().translate(_ASCII) if dice.random() < 0.5 else None,
        **audit(dice, today),
    }


def _day(dice: random.Random, today: date) -> str:
    return simple(today - timedelta(days=dice.randrange(9_000)))


def _mail(dice: random.Random, first: str, last: str) -> str:
    return f"{first}.{last}@{dice.choice(_DOMAINS)}".lower().translate(_ASCII)


# --- surprises -----------------------------------------------------------------------------------


def _misplace_addresses(dice: random.Random, rows: list[Row]) -> None:
    """Customers without an address number, and pairs that have the same one."""
    sprinkle(dice, rows, "AdrNr", 0.004, 0, None)
    for row in few(dice, rows, 0.001):
        row["AdrNr"] = dice.choice(rows)["AdrNr"]


def _spoil_customers(dice: random.Random, rows: list[Row]) -> None:
    numbers_as_text(dice, rows, "KundenNr", 0.01)
    numbers_as_text(dice, rows, "AdrNr", 0.01)
    sprinkle(dice, rows, "Liefersperre", 0.02, "0", "1", 0, 1)
    sprinkle(dice, rows, "Preisgru", 0.01, "Wiederverkäufer EU", None)
    sprinkle(dice, rows, "Kundengr", 0.01, None)
    sprinkle(dice, rows, "UStID_Dat", 0.02, "4!6!92", "2018-05-25", "31!2!2018", "01!06!2020", None)
    sprinkle(dice, rows, "letzteLieferung", 0.02, "12!03!18", "1!1!49", "2019-11-30", None)
    sprinkle(dice, rows, "Kreditlimit", 0.01, 2500.125, "5000,00", "unbegrenzt", None)
    sprinkle(dice, rows, "Rabatt", 0.01, 33.333, "10,5", "5.0", None)
    sprinkle(dice, rows, "SkontoTage", 0.01, "8", "8.0", None)
    sprinkle(dice, rows, "NettoTage", 0.01, "30", "30 Tage", None)


def _spoil_addresses(dice: random.Random, rows: list[Row]) -> None:
    numbers_as_text(dice, rows, "AdrNr", 0.01)
    for row in few(dice, rows, 0.0005):
        row["AdrNr"] = f" {row['AdrNr']}"
    sprinkle(dice, rows, "e_Mail", 0.04, *_BAD_MAILS)
    sprinkle(dice, rows, "Land", 0.02, "Deutschland ", "deu", "Frankreich", None)
    sprinkle(dice, rows, "Telefon", 0.01, None, "0123 / 45 67 (abends)\r0171/1234567")
    sprinkle(dice, rows, "Name2", 0.01, None, "Fa. O'Brien & Söhne")
    sprinkle(dice, rows, "Strasse", 0.005, "  Hauptstr. 1  ", None, "Weg\t3")
    sprinkle(dice, rows, "Name1", 0.002, "", None)


def _spoil_employees(dice: random.Random, rows: list[Row]) -> None:
    sprinkle(dice, rows, "Name", 0.015, "", None)
    sprinkle(dice, rows, "Vorname", 0.02, "", "   ", None)
    numbers_as_text(dice, rows, "Pers_Nr", 0.04)
    sprinkle(dice, rows, "eMail", 0.06, *_BAD_MAILS)
    sprinkle(dice, rows, "anwesend", 0.02, None, "1", "0")
    sprinkle(dice, rows, "GebDatum", 0.03, "15!04!85", "1!1!49", "1985-04-15", NO_DATE)
    sprinkle(dice, rows, "Eintrittsdatum", 0.02, "31!2!2018", "01!06!20", None)
    sprinkle(dice, rows, "Jahres_Gehalt", 0.03, 41_234.567, "48000", "48.000,50", None)
    sprinkle(dice, rows, "Brutto_lohn", 0.03, 4_166.666, "4000", None)
    sprinkle(dice, rows, "Monatsgehalt", 0.02, 3_333.333, "")
    sprinkle(dice, rows, "Arb_Std_Wo", 0.02, 38.333, "40", None)
    sprinkle(dice, rows, "Jahrs_Urlaub", 0.02, "30", "30 Tage", None)
    ruin(dice, rows, "Jahrs_Urlaub", 0.007, -1)


# --- a day's work --------------------------------------------------------------------------------


def work_on_partners(desk: Desk) -> None:
    """Terms, telephone numbers and salaries edited; two customers and an employee are new."""
    desk.edit(CUSTOMERS, _edit_customer)
    desk.edit(ADDRESSES, _edit_address)
    desk.edit(EMPLOYEES, _edit_employee)
    dice, today = desk.dice, desk.store.clock.local().date()
    number = max(desk.next_number(CUSTOMERS, "KundenNr"), 1_900_000)
    for place in range(2):
        fresh = {**_customer(dice, 0, today), "KundenNr": number + place, "AdrNr": number + place}
        desk.add(CUSTOMERS, fresh)
        desk.add(ADDRESSES, _address(dice, number + place, today, fresh))
    desk.add(EMPLOYEES, _employee(dice, desk.next_number(EMPLOYEES, "Pers_Nr"), today))


def _edit_customer(dice: random.Random, row: Row) -> Row:
    if dice.random() < 0.5:
        return {"Rabatt": another(dice, (0.0, 2.0, 3.0, 5.0, 10.5), row["Rabatt"])}
    return {"Zahlungsart": another(dice, PAYMENT_METHODS, row["Zahlungsart"])}


def _edit_address(dice: random.Random, _row: Row) -> Row:
    return {"Telefon": f"0{dice.randrange(10, 9999)} {dice.randrange(10**6, 10**7)}"}


def _edit_employee(dice: random.Random, row: Row) -> Row:
    monthly = another(dice, (2200.0, 2450.5, 2800.0, 3100.0, 3650.75), row["Brutto_lohn"])
    return {"Brutto_lohn": monthly, "Monatsgehalt": monthly, "Jahres_Gehalt": monthly * 12}
