"""What is cast? Molds, which articles are on them, and the orders of the workshop with their positions.

Articles are named by the old base number of their family, molds by their number, sometimes with blanks around it.
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
    audit_between,
    audit_of,
    fill,
    new_uuid,
    simple,
)
from legacy_sync.demo.sample_data.products import EXTRAS, FIGURES, Articles
from legacy_sync.demo.sample_data.surprises import numbers_as_text, ruin, some, sprinkle, with_comma
from legacy_sync.demo.sample_data.table_names import MOLD_ARTICLES, MOLDS, ORDER_ITEMS, ORDERS

MOLD_TABLE = TableDef(
    MOLDS,
    number=30,
    attributes=(
        UID,
        *attributes(
            FormNr="string indexed", Bezeichnung="string", Lagerort="string", Sperre="bool", Bemerkung="string"
        ),
        *AUDIT,
    ),
)
MOLD_ARTICLE_TABLE = TableDef(
    MOLD_ARTICLES,
    number=31,
    attributes=(
        UID,
        *attributes(Art_Nr="string indexed", FormNr="string indexed", Anzahl="long", Gewichtung="number"),
        *AUDIT,
    ),
)
ORDER_TABLE = TableDef(
    ORDERS,
    key="UUID",
    number=32,
    attributes=(
        *attributes(
            WerkAufNr="long indexed",
            UUID="uuid indexed",
            Form_Nr="string",
            Stückzahl="long",
            Status="string",
            eingestellt="date",
            Termin="date",
            Prio="long",
            linked_Form="uuid",
        ),
        *AUDIT,
    ),
)
ORDER_ITEM_TABLE = TableDef(
    ORDER_ITEMS,
    key="UUID",
    number=33,
    attributes=(
        *attributes(
            UUID="uuid indexed",
            W_Auftr_Nr="long indexed",
            WAP_Nr="long",
            Arbeitsgang="string",
            Art_Nr="string",
            St_Soll="number",
            St_Haben="number",
            St_Rest="number",
            Anteil="number",
            Zeit="long",
            St_Std="number",
            Wert="number",
            Datum_begin="date",
            Artikel_Termin="date",
            Status="string",
            linked_Kostenstelle="uuid",
            linked_Form_Artikel="uuid",
        ),
        *AUDIT,
    ),
)

_OPERATIONS = ("E", "G", "P", "Q", "T")
_COST_CENTRES = tuple(f"{0xC0570000 + number:032X}" for number in range(1, 9))
_NO_ORDER = 9_000_001


class OnMold(NamedTuple):
    """An article on a mold, as orders refer to it."""

    mold: str
    mold_uid: object
    base: str
    uid: object


def add_production(store: Store, wanted: Wanted, articles: Articles) -> None:
    """The four tables."""
    today = wanted.today
    dice = wanted.dice(MOLDS)
    molds = [_mold(dice, f"F{100 + place}", today) for place in range(wanted.rows(420))]
    _spoil_molds(dice, molds)
    dice = wanted.dice(MOLD_ARTICLES)
    on_molds, links = _mold_articles(dice, molds, articles.bases, wanted.rows(900), today)
    _spoil_mold_articles(dice, on_molds)
    dice = wanted.dice(ORDERS)
    orders = _orders(dice, links, wanted.rows(2600), today)
    dice = wanted.dice(ORDER_ITEMS)
    items = _items(dice, orders, wanted.rows(6500), today)
    rows = [order for order, _ in orders]
    _spoil_orders(dice, rows)
    _spoil_items(dice, items)
    fill(store, MOLD_TABLE, molds)
    fill(store, MOLD_ARTICLE_TABLE, on_molds)
    fill(store, ORDER_TABLE, rows)
    fill(store, ORDER_ITEM_TABLE, items)


# --- clean rows ----------------------------------------------------------------------------------


def _mold(dice: random.Random, number: str, today: date) -> Row:
    return {
        "UID": new_uuid(dice),
        "FormNr": number,
        "Bezeichnung": f"{dice.choice(FIGURES)[0]} {dice.choice(EXTRAS)[0]}",
        "Lagerort": f"Regal {dice.randrange(1, 40)}",
        "Sperre": dice.random() < 0.08,
        "Bemerkung": dice.choice((None, None, "", "Kante nacharbeiten", "2. Satz, seit 1998")),
        **audit(dice, today),
    }


def _mold_articles(
    dice: random.Random, molds: list[Row], bases: list[str], count: int, today: date
) -> tuple[list[Row], list[OnMold]]:
    """No article twice on one mold; also returns the rows as orders refer to them."""
    rows, links, taken = [], [], set()
    for place in range(min(count, len(molds) * len(bases))):
        mold, base = molds[place % len(molds)], dice.choice(bases)
        number = str(mold["FormNr"]).strip()
        if (number, base) in taken:
            continue
        taken.add((number, base))
        row = _mold_article(dice, number, base, today)
        rows.append(row)
        links.append(OnMold(number, mold["UID"], base, row["UID"]))
    return rows, links


def _mold_article(dice: random.Random, mold: str, base: str, today: date) -> Row:
    return {
        "UID": new_uuid(dice),
        "Art_Nr": base,
        "FormNr": mold,
        "Anzahl": dice.choice((1, 1, 2, 4, 6)),
        "Gewichtung": dice.randrange(2, 80) / 4,
        **audit(dice, today),
    }


def _orders(dice: random.Random, links: list[OnMold], count: int, today: date) -> list[tuple[Row, OnMold]]:
    """Orders of the last twenty-five years, one after the other, each for an article on a mold."""
    found = []
    for place in range(count):
        link = dice.choice(links)
        entered = today - timedelta(days=(count - place) * 9_000 // count)
        found.append((_order(dice, 1_000 + place, link, entered, today), link))
    return found


def _order(dice: random.Random, number: int, link: OnMold, entered: date, today: date) -> Row:
    due = entered + timedelta(days=dice.randrange(7, 60))
    old = (today - entered).days > 120
    return {
        "WerkAufNr": number,
        "UUID": new_uuid(dice),
        "Form_Nr": link.mold,
        "Stückzahl": dice.choice((20, 50, 100, 250, 400)),
        "Status": dice.choice(("V", "V", "V", "V", "C") if old else ("E", "E", "S", "D")),
        "eingestellt": simple(entered),
        "Termin": simple(due),
        "Prio": dice.choice((0, 0, 1, 2, 3)),
        "linked_Form": link.mold_uid if dice.random() < 0.7 else None,
        **audit_between(dice, entered, min(today, due)),
    }


def _items(dice: random.Random, orders: list[tuple[Row, OnMold]], count: int, today: date) -> list[Row]:
    """One position per operation; nearly every order has some."""
    numbers = [dice.randrange(len(orders)) for _ in range(count)]
    rows = []
    position = [0] * len(orders)
    for number in sorted(numbers):
        position[number] += 1
        order, link = orders[number]
        rows.append(_item(dice, order, link, position[number], today))
    return rows


def _item(dice: random.Random, order: Row, link: OnMold, place: int, today: date) -> Row:
    wanted = float(str(order["Stückzahl"]))
    status = {"V": "V", "C": "C", "E": dice.choice("EPV")}.get(str(order["Status"]), "P")
    done = {"V": wanted, "E": wanted // 2}.get(status, 0.0)
    return {
        "UUID": new_uuid(dice),
        "W_Auftr_Nr": order["WerkAufNr"],
        "WAP_Nr": place,
        "Arbeitsgang": _OPERATIONS[(place - 1) % len(_OPERATIONS)],
        "Art_Nr": link.base,
        "St_Soll": wanted,
        "St_Haben": done,
        "St_Rest": wanted - done,
        "Anteil": dice.choice((1.0, 1.0, 0.5, 0.25)),
        "Zeit": dice.choice((15, 30, 60, 90)),
        "St_Std": dice.randrange(20, 200) / 8,
        "Wert": dice.randrange(100, 900) / 100,
        "Datum_begin": order["eingestellt"] if status != "P" else NO_DATE,
        "Artikel_Termin": order["Termin"] if dice.random() < 0.3 else NO_DATE,
        "Status": status,
        "linked_Kostenstelle": dice.choice(_COST_CENTRES) if dice.random() < 0.6 else None,
        "linked_Form_Artikel": link.uid if dice.random() < 0.6 else None,
        **audit_of(order),
    }


# --- surprises -----------------------------------------------------------------------------------


def _spoil_molds(dice: random.Random, rows: list[Row]) -> None:
    for row in some(dice, rows, 0.01):
        row["FormNr"] = f" {row['FormNr']} "
    sprinkle(dice, rows, "Sperre", 0.02, "1", "0", None)
    sprinkle(dice, rows, "Bezeichnung", 0.01, "  Hase groß ", None)
    sprinkle(dice, rows, "Lagerort", 0.02, None, "")


def _spoil_mold_articles(dice: random.Random, rows: list[Row]) -> None:
    sprinkle(dice, rows, "Anzahl", 0.02, None, "4", 0)
    sprinkle(dice, rows, "Gewichtung", 0.02, 2.33333, "12,5", None)
    ruin(dice, rows, "Art_Nr", 0.004, "99999", "", None)
    ruin(dice, rows, "FormNr", 0.003, "F9999")


def _spoil_orders(dice: random.Random, rows: list[Row]) -> None:
    numbers_as_text(dice, rows, "WerkAufNr", 0.01)
    numbers_as_text(dice, rows, "Stückzahl", 0.01)
    sprinkle(dice, rows, "Form_Nr", 0.01, "F9999", "", None)
    sprinkle(dice, rows, "Status", 0.01, "", "X", None, "v")
    sprinkle(dice, rows, "eingestellt", 0.01, "4!6!92", "31!2!2018", "2018-05-25", None)
    sprinkle(dice, rows, "Termin", 0.02, NO_DATE, "01!06!20", "2024-04-01T00:00:00Z", "1!1!49")
    sprinkle(dice, rows, "Prio", 0.01, None, "2")


def _spoil_items(dice: random.Random, rows: list[Row]) -> None:
    numbers_as_text(dice, rows, "W_Auftr_Nr", 0.01)
    ruin(dice, rows, "W_Auftr_Nr", 0.004, _NO_ORDER)
    sprinkle(dice, rows, "Art_Nr", 0.01, "99999", "", None)
    for row in some(dice, rows, 0.01):
        row["Art_Nr"] = f" {row['Art_Nr']} "
    sprinkle(dice, rows, "Arbeitsgang", 0.01, " E ", None, "")
    sprinkle(dice, rows, "St_Soll", 0.01, 12.5, "250", None)
    with_comma(dice, rows, "St_Haben", 0.003)
    sprinkle(dice, rows, "Anteil", 0.01, 0.333333333, None)
    sprinkle(dice, rows, "Zeit", 0.01, None, "60", "1:30")
    sprinkle(dice, rows, "Datum_begin", 0.01, "2!5!24", "31!2!2018", None)
    sprinkle(dice, rows, "Status", 0.01, "", None, "Z")


# --- a day's work --------------------------------------------------------------------------------


def work_on_production(desk: Desk) -> None:
    """Pieces are cast and reported; a mold with an article and two orders with positions are new."""
    desk.edit(MOLDS, _edit_mold)
    desk.edit(MOLD_ARTICLES, _edit_mold_article)
    desk.edit(ORDERS, _edit_order)
    desk.edit(ORDER_ITEMS, _edit_item)
    dice, today = desk.dice, desk.store.clock.local().date()
    orders = desk.next_number(ORDERS, "WerkAufNr")
    mold = _mold(dice, f"F{10_000 + orders}", today)
    base = str(desk.pick(MOLD_ARTICLES)["Art_Nr"])
    on_mold = _mold_article(dice, str(mold["FormNr"]), base, today)
    desk.add(MOLDS, mold)
    desk.add(MOLD_ARTICLES, on_mold)
    link = OnMold(str(mold["FormNr"]), mold["UID"], base, on_mold["UID"])
    for number in (orders, orders + 1):
        order = _order(dice, number, link, today, today)
        desk.add(ORDERS, order)
        for place in (1, 2, 3):
            desk.add(ORDER_ITEMS, _item(dice, order, link, place, today))


def _edit_mold(dice: random.Random, row: Row) -> Row:
    return {"Lagerort": another(dice, ("Regal 1", "Regal 7", "Regal 12", "ausgelagert"), row["Lagerort"])}


def _edit_mold_article(dice: random.Random, row: Row) -> Row:
    return {"Gewichtung": another(dice, (1.25, 2.5, 3.75, 8.0), row["Gewichtung"])}


def _edit_order(dice: random.Random, row: Row) -> Row:
    return {"Status": another(dice, ("E", "V", "S"), row["Status"]), "Prio": dice.randrange(4)}


def _edit_item(dice: random.Random, row: Row) -> Row:
    done = another(dice, (5.0, 10.0, 20.0), row["St_Haben"])
    return {"St_Soll": 20.0, "St_Haben": done, "St_Rest": 20.0 - done, "Status": "V" if done == 20.0 else "E"}
