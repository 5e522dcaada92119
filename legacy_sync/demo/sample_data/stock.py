"""What lies where? Places, boxes with their types and slots, stock of articles, and what of it is in which box.

Rows refer to each other by number, by UUID, and from inside `data_`, which is an object in one row and its JSON
text in the next. Most stock is 0 or nothing at all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple, cast

from legacy_sync.demo.four_d_server.store import AttributeDef, Row, Store, TableDef
from legacy_sync.demo.sample_data.desk import Desk, another, as_number
from legacy_sync.demo.sample_data.every_row import AUDIT, NO_DATE, UID, Wanted, attributes, audit, fill, new_uuid
from legacy_sync.demo.sample_data.products import Article, Articles
from legacy_sync.demo.sample_data.surprises import (
    few,
    json_text,
    numbers_as_text,
    objects_as_text,
    some,
    sprinkle,
)
from legacy_sync.demo.sample_data.table_names import BOX_STOCK, BOXES, PARAMETERS, PLACES, SLOTS, STOCK, VARIANTS

PLACE_TABLE = TableDef(
    PLACES,
    key="UUID",
    number=20,
    attributes=(
        *attributes(
            ID_Lagerort="long indexed",
            UUID="uuid indexed",
            Land_LKZ="string",
            Ort_Gebaeude="string",
            Regal="long",
            Fach="long",
            Boden="long",
            Schuette="string",
            Lagerort="string",
            Abverkauf="bool",
            Sonderlager="bool",
            X="number",
            Y="number",
            Z="number",
            Packed="bool",
            Attribut="string",
        ),
        *AUDIT,
    ),
)
PARAMETER_TABLE = TableDef(
    PARAMETERS,
    number=21,
    attributes=(UID, *attributes(id="long indexed", scope="string indexed", data_="object"), *AUDIT),
)
BOX_TABLE = TableDef(
    BOXES,
    number=22,
    attributes=(
        UID,
        *attributes(
            ID="long indexed", max_Anzahl_Slots="long", data_="object", Druckdatum="date", Druckzeit="duration"
        ),
        *AUDIT,
        AttributeDef("Relation_93", kind="relatedEntities", target=BOX_STOCK),
        AttributeDef("viele_schuetten", kind="relatedEntities", target=SLOTS, inverse="viele_zu_eins"),
    ),
)
SLOT_TABLE = TableDef(
    SLOTS,
    number=23,
    attributes=(
        UID,
        *attributes(
            ID="long indexed",
            ID_Lager_Schuetten_Slots="long indexed",
            Lfd_Nr="long",
            Auftrags_Nr="long",
            viele_zu_eins="long",
            picking_data_="object",
            data_="object",
        ),
        *AUDIT,
    ),
)
STOCK_TABLE = TableDef(
    STOCK,
    key="UUID",
    number=24,
    attributes=(
        *attributes(
            UUID="uuid indexed",
            ID_Artikel_Stamm="long indexed",
            UUID_Stamm_Lagerorte="uuid indexed",
            UUID_Lager_Schuetten="uuid",
            Bestand="long",
            Reserved="bool",
            Auftrags_Nr="long",
        ),
        *AUDIT,
        AttributeDef("Relation_88", kind="relatedEntity", target=PLACES, foreign_key="UUID_Stamm_Lagerorte"),
        AttributeDef("Relation_113_zurueck", kind="relatedEntities", target=BOX_STOCK, inverse="Relation_113"),
    ),
)
BOX_STOCK_TABLE = TableDef(
    BOX_STOCK,
    number=25,
    attributes=(
        UID,
        *attributes(
            ID="long indexed",
            ID_Stamm_Lager_Schuetten="long indexed",
            UUID_Artikel_Lagerorte="uuid indexed",
            Menge="long",
            Chargen_Nr="string",
            Ablaufdatum="date",
            data_="object",
            Relation_95_zurueck="object",
        ),
        *AUDIT,
        AttributeDef(
            "Relation_113",
            kind="relatedEntity",
            target=STOCK,
            foreign_key="UUID_Artikel_Lagerorte",
            inverse="Relation_113_zurueck",
        ),
    ),
)

TYPES_SCOPE = "Schüttentypen"
_TYPES = 45
_USUAL = (500, 312)
_BUILDINGS = ("Stammlager-Diessen", "Hamburg-Markt", "Werkstatt-Utting", "Laden-Dießen", "Messelager-Nürnberg")
_MAKERS = (("Schäfer", "LF"), ("Auer", "EG"), ("Bito", "XL"), ("Utz", "RAKO"), ("SSI", "KLT"))
_COLOURS = ("Blau", "Gelb", "Grün", "Rot", "Grau", "Transparent", "Weiß")
_SCOPES = ("Mahntexte", "Steuersätze", "Drucker", "Nummernkreise", "Länder", "Farben", "Fenster", "Etiketten")
_PURPOSES = ("Lager", "Lager", "Lager", "Lager", "Lager", "Picken", "Transport", "Werkstatt")
_LOST_TYPES = ("Kiste alt", "Schaefer LF 532", "unbekannt", "", None, "Holzkiste Flohmarkt")
_SLOT_CODES = ("BP", "ZB", "FG", "KI", "GY", "AX", "RT")
_NOBODY = 999_999_001


class Parts(NamedTuple):
    """The rows that a row in a box refers to, without those that an import cannot load."""

    places: list[Row]
    slots: list[Row]
    stock: list[Row]


def add_stock(store: Store, wanted: Wanted, articles: Articles) -> None:
    """The six tables."""
    today = wanted.today
    places = _places(wanted.dice(PLACES), wanted.rows(923), today)
    sound = _spoil_places(wanted.dice("spoilt places"), places)
    parameters, types = _parameters(wanted.dice(PARAMETERS), wanted.rows(42), today)
    boxes = _boxes(wanted.dice(BOXES), wanted.rows(4216), types, sound, today)
    slots = _slots(wanted.dice(SLOTS), boxes, wanted.rows(4600), today)
    stock = _stock(wanted.dice(STOCK), articles.sound, sound, wanted.rows(3119), today)
    dice = wanted.dice("spoilt stock")
    _spoil_boxes(dice, boxes)
    parts = Parts(sound, _spoil_slots(dice, slots), _spoil_stock(dice, stock, boxes))
    box_stock = _box_stock(wanted.dice(BOX_STOCK), parts, wanted.rows(2400), today)
    _spoil_box_stock(dice, box_stock)
    for definition, rows in (
        (PLACE_TABLE, places),
        (PARAMETER_TABLE, parameters),
        (BOX_TABLE, boxes),
        (SLOT_TABLE, slots),
        (STOCK_TABLE, stock),
        (BOX_STOCK_TABLE, box_stock),
    ):
        fill(store, definition, rows)


# --- clean rows ----------------------------------------------------------------------------------


def _places(dice: random.Random, count: int, today: date) -> list[Row]:
    """Racks with three compartments and five shelves, one building after the other."""
    racks = -(-count // (15 * len(_BUILDINGS)))
    rows = []
    for number in range(count):
        shelf = number % 15
        building, rack = divmod(number // 15, racks)
        fresh = _place(dice, _BUILDINGS[building], (rack + 1, shelf // 5 + 1, shelf % 5 + 1), today)
        rows.append({"ID_Lagerort": 101 + number * 2, **fresh})
    return rows


def _place(dice: random.Random, building: str, where: tuple[int, int, int], today: date) -> Row:
    rack, compartment, shelf = where
    return {
        "UUID": new_uuid(dice),
        "Land_LKZ": "DE",
        "Ort_Gebaeude": building,
        "Regal": rack,
        "Fach": compartment,
        "Boden": shelf,
        "Schuette": None,
        "Lagerort": f"DE-{building}-R{rack:02d}-F{compartment:02d}-B{shelf:02d}",
        "Abverkauf": dice.random() < 0.05,
        "Sonderlager": dice.random() < 0.03,
        "X": 0.0,
        "Y": 0.0,
        "Z": 0.0,
        "Packed": False,
        "Attribut": None,
        **audit(dice, today),
    }


def _parameters(dice: random.Random, count: int, today: date) -> tuple[list[Row], list[str]]:
    """Rows of every scope, one of them with the types of boxes; returns the types' names, too."""
    types = [_box_type(dice, place) for place in range(_TYPES)]
    names = [str(each["Type"]) for each in types]
    types[3]["Box_Länge"], types[4]["Box_Höhe"], types[5]["Slots"] = 0, "200", None
    types[6]["Box_Breite"], types[7]["Box_Länge"] = 312.126, -1
    rows = []
    for place in range(count):
        data: object = {"Wert": dice.randrange(1000), "Gültig": True}
        if dice.random() < 0.3:
            data = dice.choice((None, {}, json_text(data), "{kaputt"))
        scope = f"{_SCOPES[place % len(_SCOPES)]} {place // len(_SCOPES) + 1}"
        if place == count // 2:
            scope, data = TYPES_SCOPE, {TYPES_SCOPE: [*types, {"id": 99, "Type": "", "Slots": 1}]}
        rows.append({"UID": new_uuid(dice), "id": place + 1, "scope": scope, "data_": data, **audit(dice, today)})
    return rows, names


def _box_type(dice: random.Random, place: int) -> Row:
    maker, series = _MAKERS[place % len(_MAKERS)]
    length, width, height = dice.randrange(160, 793), dice.randrange(85, 594), dice.randrange(80, 451)
    if place == 0:
        length, width = _USUAL
    number = f"{series} {500 + place * 7}"
    colour = f" {dice.choice(_COLOURS)}" if place % 4 == 0 else ""
    return {
        "id": 10 + place,
        "Type": f"{maker}-{length}x{width}" if place % 3 == 0 else f"{maker} {number}{colour}",
        "Hersteller": maker,
        "Hersteller_Art_Nr": number,
        "Box_Länge": length,
        "Box_Breite": width,
        "Box_Höhe": height,
        "Box_Gewicht": dice.randrange(101, 7801),
        "Trenner_Gewicht": dice.choice((0, 0, 250)),
        "Slots": dice.choice((1, 1, 2, 3, 6)),
    }


def _boxes(dice: random.Random, count: int, types: list[str], places: list[Row], today: date) -> list[Row]:
    rows = []
    number = 600_000
    for _ in range(count):
        number += 1 + int(dice.expovariate(0.1))
        rows.append(_box(dice, number, dice.choice(types), dice.choice(places), today))
    return rows


def _box(dice: random.Random, number: int, kind: str, place: Row, today: date) -> Row:
    day = today - timedelta(days=dice.randrange(6_000))
    printed = f"{day.day:02d}!{day.month:02d}!{day.year % 100:02d}"
    data = {
        "Schuettentype": kind,
        "Anzahl_Schuetteneinheiten": dice.choice((1, 1, 1, 2, 4)),
        "Schuettenzweck": dice.choice(_PURPOSES),
        "Stamm_Lagerort": place["UUID"],
        "Lagerort": place["Lagerort"],
    }
    return {
        "UID": new_uuid(dice),
        "ID": number,
        "max_Anzahl_Slots": 1,
        "data_": data,
        "Druckdatum": printed if dice.random() < 0.8 else NO_DATE,
        "Druckzeit": dice.randrange(7 * 3600, 18 * 3600) * 1000,
        **audit(dice, today),
    }


def _slots(dice: random.Random, boxes: list[Row], count: int, today: date) -> list[Row]:
    """Most boxes have one slot, some have none and some have several."""
    used = boxes[len(boxes) // 10 :]
    owners = [*used, *dice.choices(used, k=max(0, count - len(used)))]
    slots_of: dict[object, int] = {}
    rows = []
    for place, box in enumerate(sorted(owners, key=lambda box: int(str(box["ID"])))):
        number = slots_of[box["ID"]] = slots_of.get(box["ID"], 0) + 1
        box["max_Anzahl_Slots"] = number
        rows.append(_slot(dice, 4_501 + place, box, number, today))
    return rows


def _slot(dice: random.Random, key: int, box: Row, number: int, today: date) -> Row:
    code = _SLOT_CODES[(key + number) % len(_SLOT_CODES)] if number <= len(_SLOT_CODES) else f"Z{number}"
    return {
        "UID": new_uuid(dice),
        "ID": key,
        "ID_Lager_Schuetten_Slots": box["ID"],
        "Lfd_Nr": number,
        "Auftrags_Nr": dice.randrange(50_000, 60_000) if dice.random() < 0.05 else 0,
        "viele_zu_eins": box["ID"] if dice.random() < 0.9 else None,
        "picking_data_": None,
        "data_": {"Slot_Code": code, "Einheiten_Nr": number, "Einheitenfabe": dice.choice((255, 65280, 16711680))},
        **audit(dice, today),
    }


def _stock(dice: random.Random, articles: list[Article], places: list[Row], count: int, today: date) -> list[Row]:
    """Each row has an article and a place, never the same two."""
    rows: list[Row] = []
    taken = set()
    while len(rows) < min(count, len(articles) * len(places)):
        article, place = dice.choice(articles), dice.choice(places)
        if (article.ref, place["UUID"]) not in taken:
            taken.add((article.ref, place["UUID"]))
            rows.append(_stock_row(dice, article.ref, place, today))
    return rows


def _stock_row(dice: random.Random, ref: int, place: Row, today: date) -> Row:
    return {
        "UUID": new_uuid(dice),
        "ID_Artikel_Stamm": ref,
        "UUID_Stamm_Lagerorte": place["UUID"],
        "UUID_Lager_Schuetten": None,
        "Bestand": dice.choice((None, None, 0)),
        "Reserved": dice.random() < 0.02,
        "Auftrags_Nr": dice.randrange(50_000, 60_000) if dice.random() < 0.03 else 0,
        **audit(dice, today),
    }


def _box_stock(dice: random.Random, parts: Parts, count: int, today: date) -> list[Row]:
    stock = dice.sample(parts.stock, min(count, len(parts.stock)))
    rows = []
    for place, row in enumerate(stock):
        slot = dice.choice(parts.slots)
        rows.append(_box_stock_row(dice, place + 1, row, slot, today))
    return rows


def _box_stock_row(dice: random.Random, key: int, stock: Row, slot: Row, today: date) -> Row:
    box = as_number(slot["ID_Lager_Schuetten_Slots"]) or as_number(slot["viele_zu_eins"])
    expiry = today + timedelta(days=dice.randrange(-900, 900))
    return {
        "UID": new_uuid(dice),
        "ID": key,
        "ID_Stamm_Lager_Schuetten": box,
        "UUID_Artikel_Lagerorte": stock["UUID"],
        "Menge": dice.choice((1, 1, 2, 5, 10, 15, 48, 0)),
        "Chargen_Nr": f"CH-{today.year - dice.randrange(6)}-{dice.randrange(400):03d}" if dice.random() < 0.3 else "",
        "Ablaufdatum": f"{expiry.day:02d}.{expiry.month:02d}.{expiry.year}" if dice.random() < 0.2 else NO_DATE,
        "data_": {
            "Schuetten_ID": box,
            "Artikel_Lagerort": stock["UUID"],
            "Stamm_Lagerort": stock["UUID_Stamm_Lagerorte"],
        },
        "Relation_95_zurueck": {"ID_Lager_Schuetten_Slots": slot["ID"]},
        **audit(dice, today),
    }


# --- surprises -----------------------------------------------------------------------------------


def _spoil_places(dice: random.Random, rows: list[Row]) -> list[Row]:
    """Returns the places other rows may refer to: with a number, and the only ones with their five parts."""
    order = dice.sample(rows, len(rows))
    pairs = max(1, len(rows) // 100)
    for twin, model in zip(order[:pairs], order[pairs : 2 * pairs], strict=True):
        for name in ("Land_LKZ", "Ort_Gebaeude", "Regal", "Fach", "Boden", "Lagerort"):
            twin[name] = model[name]
    order[-1]["ID_Lagerort"] = None
    sound = order[2 * pairs : -1]
    numbers_as_text(dice, sound, "Regal", 0.02)
    numbers_as_text(dice, sound, "ID_Lagerort", 0.01)
    for row in some(dice, sound, 0.01):  # a whole room, not a shelf
        row["Regal"] = row["Fach"] = row["Boden"] = None
        row["Ort_Gebaeude"] = row["Lagerort"] = f"Raum {row['ID_Lagerort']}"
    sprinkle(dice, sound, "Land_LKZ", 0.01, None, "de")
    sprinkle(dice, sound, "Schuette", 0.01, "S1", "")
    sprinkle(dice, sound, "Abverkauf", 0.01, "1", "0")
    sprinkle(dice, sound, "Sonderlager", 0.01, True)
    sprinkle(dice, sound, "Packed", 0.002, True)
    sprinkle(dice, sound, "Attribut", 0.002, "trocken")
    for axis in "XYZ":
        sprinkle(dice, sound, axis, 0.002, 1.255)
    return sound


def _spoil_boxes(dice: random.Random, rows: list[Row]) -> None:
    lost = some(dice, rows, 0.071)
    for place, row in enumerate(lost):
        _data(row)["Schuettentype"] = _LOST_TYPES[place % len(_LOST_TYPES)]
    for place, row in enumerate(some(dice, rows, 0.01)):
        _data(row)["Schuettenzweck"] = ("pick", "LAGER", "", None)[place % 4]
    for row in some(dice, rows, 0.02):
        del _data(row)["Stamm_Lagerort"]
    for row in some(dice, rows, 0.004):
        _data(row)["Stamm_Lagerort"] = new_uuid(dice)
    objects_as_text(dice, rows, "data_", 0.1)
    sprinkle(dice, rows, "data_", 0.004, '{"Schuettentype": "Schäf', None, "")
    numbers_as_text(dice, rows, "ID", 0.005)
    sprinkle(dice, rows, "Druckdatum", 0.01, "1!1!49", "31!2!18", "12!03!2018", None)
    sprinkle(dice, rows, "Druckzeit", 0.3, None)


def _data(row: Row) -> Row:
    data = row["data_"]
    assert isinstance(data, dict)  # they are made into texts later
    return data


def _spoil_slots(dice: random.Random, rows: list[Row]) -> list[Row]:
    """Returns the slots other rows may refer to."""
    unloadable = set()
    for row in few(dice, rows, 0.004):
        row["ID_Lager_Schuetten_Slots"], row["viele_zu_eins"] = _NOBODY, None
        unloadable.add(row["UID"])
    for first, second in _neighbours(dice, rows, 0.002):
        _data(second)["Slot_Code"] = _data(first)["Slot_Code"]
        unloadable |= {first["UID"], second["UID"]}
    sound = [row for row in rows if row["UID"] not in unloadable]
    for row in some(dice, sound, 0.03):
        row["viele_zu_eins"] = row["ID_Lager_Schuetten_Slots"]
        row["ID_Lager_Schuetten_Slots"] = dice.choice((0, None))
    numbers_as_text(dice, sound, "ID_Lager_Schuetten_Slots", 0.01)
    numbers_as_text(dice, sound, "viele_zu_eins", 0.01)
    numbers_as_text(dice, sound, "Lfd_Nr", 0.01)
    sprinkle(dice, rows, "Auftrags_Nr", 0.01, 51_234, "51235", None)
    sprinkle(dice, rows, "picking_data_", 0.01, {"Menge": 3}, '{"Menge": 12}', {})
    objects_as_text(dice, sound, "data_", 0.08)
    only = [row for row in sound if row["Lfd_Nr"] == 1]
    sprinkle(dice, only, "data_", 0.003, '{"Slot_Code": "B', None, {})
    return sound


def _neighbours(dice: random.Random, rows: list[Row], share: float) -> Iterator[tuple[Row, Row]]:
    """Pairs of slots of one box that are both still whole."""
    pairs = [
        (first, second)
        for first, second in pairwise(rows)
        if first["ID_Lager_Schuetten_Slots"] == second["ID_Lager_Schuetten_Slots"] != _NOBODY
    ]
    wanted = max(round(len(rows) * share), len(rows) >= 100)
    yield from dice.sample(pairs, min(wanted, len(pairs)))


def _spoil_stock(dice: random.Random, rows: list[Row], boxes: list[Row]) -> list[Row]:
    """Returns the stock rows other rows may refer to."""
    unloadable = few(dice, rows, 116 / 3119)
    for place, row in enumerate(unloadable):
        lot = place % 10
        if lot < 5 or place % 20 == 19:
            row["ID_Artikel_Stamm"] = dice.choice((0, 400_000 + place))
        elif lot < 9:
            row["UUID_Stamm_Lagerorte"] = new_uuid(dice) if lot < 8 else None
    keys = {row["UUID"] for row in unloadable}
    sound = [row for row in rows if row["UUID"] not in keys]
    doubles = [row for place, row in enumerate(unloadable) if place % 20 == 9]
    for row, model in zip(doubles, dice.sample(sound, len(doubles)), strict=True):  # the same article at one place
        row["ID_Artikel_Stamm"], row["UUID_Stamm_Lagerorte"] = model["ID_Artikel_Stamm"], model["UUID_Stamm_Lagerorte"]
    sprinkle(dice, sound, "Bestand", 0.004, "", "abc", "NaN", "10.5", "25")
    sprinkle(dice, sound, "Bestand", 0.01, 50, 4, 120, 1, 12)
    sprinkle(dice, sound, "Reserved", 0.01, "Y", 1, "0", None, "TRUE")
    sprinkle(dice, sound, "Auftrags_Nr", 0.01, "51234", "", None)
    sprinkle(dice, rows, "UUID_Lager_Schuetten", 0.001, *(box["UID"] for box in boxes[:3]))
    numbers_as_text(dice, sound, "ID_Artikel_Stamm", 0.01)
    return sound


def _spoil_box_stock(dice: random.Random, rows: list[Row]) -> None:
    for place, row in enumerate(few(dice, rows, 0.006)):
        name = ("ID_Stamm_Lager_Schuetten", "UUID_Artikel_Lagerorte", "Relation_95_zurueck")[place % 3]
        row[name] = (_NOBODY, new_uuid(dice), {"ID_Lager_Schuetten_Slots": _NOBODY})[place % 3]
    sprinkle(dice, rows, "Menge", 0.03, None, "15", "abc", 2.5)
    sprinkle(dice, rows, "Chargen_Nr", 0.02, None)
    sprinkle(dice, rows, "Ablaufdatum", 0.02, "31.12.2025", "31.02.2024", None, "1!5!26")
    objects_as_text(dice, rows, "data_", 0.15)
    objects_as_text(dice, rows, "Relation_95_zurueck", 0.2)
    sprinkle(dice, rows, "data_", 0.01, "{kaputt", None)
    sprinkle(dice, rows, "Relation_95_zurueck", 0.01, "invalid json", None)
    numbers_as_text(dice, rows, "ID_Stamm_Lager_Schuetten", 0.01)


# --- a day's work --------------------------------------------------------------------------------


def work_on_stock(desk: Desk) -> None:
    """Things are put elsewhere and counted; a place, two boxes with slots and what lies in them are new."""
    desk.edit(PLACES, _edit_place)
    desk.edit(PARAMETERS, _edit_parameter)
    desk.edit(BOXES, _edit_box)
    desk.edit(SLOTS, _edit_slot)
    desk.edit(STOCK, _edit_stock)
    desk.edit(BOX_STOCK, _edit_box_stock)
    _furnish(desk)


def _edit_place(_dice: random.Random, row: Row) -> Row:
    return {"Abverkauf": row["Abverkauf"] in (False, "0", 0, None)}


def _edit_parameter(dice: random.Random, row: Row) -> Row:
    if row["scope"] != TYPES_SCOPE:
        return {"data_": {"Wert": dice.randrange(1000, 10**6), "Gültig": True}}
    types = cast("list[Row]", _data(row)[TYPES_SCOPE])
    return {"data_": {TYPES_SCOPE: [*types, _box_type(dice, dice.randrange(1_000, 9_000))]}}


def _edit_box(dice: random.Random, row: Row) -> Row:
    printed = f"{dice.randrange(1, 29):02d}!{dice.randrange(1, 13):02d}!24"
    return {"Druckdatum": printed if printed != row["Druckdatum"] else NO_DATE}


def _edit_slot(dice: random.Random, row: Row) -> Row:
    order = dice.randrange(60_000, 70_000)
    return {"Auftrags_Nr": 0 if row["Auftrags_Nr"] == order else order}


def _edit_stock(dice: random.Random, row: Row) -> Row:
    return {"Bestand": another(dice, (None, 0, 3, 24, 60), row["Bestand"])}


def _edit_box_stock(dice: random.Random, row: Row) -> Row:
    return {"Menge": another(dice, (1, 2, 6, 12, 20), row["Menge"])}


def _furnish(desk: Desk) -> None:
    dice, today = desk.dice, desk.store.clock.local().date()
    key = desk.next_number(PLACES, "ID_Lagerort")
    place = _place(dice, "Neubau-Dießen", (key, 1, 1), today)
    desk.add(PLACES, {"ID_Lagerort": key, **place})
    refs = [row["refOld"] for row in desk.store.rows(VARIANTS) if row["refOld"]]
    numbers = {name: desk.next_number(name, "ID") for name in (BOXES, SLOTS, BOX_STOCK)}
    for place_in_room in range(2):
        box = _box(dice, numbers[BOXES] + place_in_room, f"Schäfer-{_USUAL[0]}x{_USUAL[1]}", place, today)
        slot = _slot(dice, numbers[SLOTS] + place_in_room, box, 1, today)
        stock = _stock_row(dice, as_number(refs[(key + place_in_room) % len(refs)]), place, today)
        desk.add(BOXES, box)
        desk.add(SLOTS, slot)
        desk.add(STOCK, {**stock, "Bestand": 24})
        desk.add(BOX_STOCK, _box_stock_row(dice, numbers[BOX_STOCK] + place_in_room, stock, slot, today))
