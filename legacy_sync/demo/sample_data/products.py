"""Which figures does the maker have? Families and their variants after thirty years, surprises included.

Duplicates, orphans, blank names, impossible dates, prices as text; some families are saved only later.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from legacy_sync.demo.four_d_server.store import AttributeDef, Row, Store, TableDef
from legacy_sync.demo.sample_data.desk import Desk
from legacy_sync.demo.sample_data.every_row import AUDIT, UID, Wanted, audit, new_uuid, without_audit
from legacy_sync.demo.sample_data.surprises import json_text, share_of, some
from legacy_sync.demo.sample_data.table_names import FAMILIES, VARIANTS

_TEXTS = (
    AttributeDef("Bezeichnung"),
    AttributeDef("Bezeichnung_ENG"),
    AttributeDef("Beschreibung", "object"),
    AttributeDef("Beschreibung_ENG"),
    AttributeDef("Beschreibung_kurz"),
    AttributeDef("Beschreibung_kurz_ENG"),
    AttributeDef("Gewicht", "number"),
    AttributeDef("Masse_Breite", "number"),
    AttributeDef("Masse_Hoehe", "number"),
    AttributeDef("Masse_Tiefe", "number"),
)
FAMILY_TABLE = TableDef(
    FAMILIES,
    number=12,
    attributes=(
        UID,
        AttributeDef("Nummer", "long", indexed=True),
        AttributeDef("oldArtKalk"),
        *_TEXTS,
        AttributeDef("ArtGr"),
        AttributeDef("Gruppe"),
        AttributeDef("Haengend", "bool"),
        AttributeDef("Einseitig", "bool"),
        AttributeDef("Release_date", "date"),
        AttributeDef("Neu", "bool"),
        AttributeDef("aktiv", "bool"),
        *AUDIT,
        AttributeDef("Relation_93", kind="relatedEntities", target=VARIANTS, inverse="Relation_94"),
    ),
)
VARIANT_TABLE = TableDef(
    VARIANTS,
    number=13,
    attributes=(
        UID,
        AttributeDef("Nummer", "long", indexed=True),
        AttributeDef("alteNummer"),
        AttributeDef("fk_ArtNr"),
        AttributeDef("ArtikelArt"),
        AttributeDef("Familie_", "uuid", indexed=True),
        AttributeDef("refOld", "long", indexed=True),
        AttributeDef("Bez_kurz"),
        *_TEXTS,
        AttributeDef("Farbe"),
        AttributeDef("Groesse"),
        AttributeDef("Verkaufsartikel", "bool"),
        AttributeDef("Aktiv", "bool"),
        AttributeDef("neu", "bool"),
        AttributeDef("Release_date", "date"),
        AttributeDef("Auslaufdatum", "date"),
        AttributeDef("Preise", "object"),
        AttributeDef("Properties", "object"),
        AttributeDef("ArtGruppe"),
        *AUDIT,
        AttributeDef(
            "Relation_94", kind="relatedEntity", target=FAMILIES, foreign_key="Familie_", inverse="Relation_93"
        ),
    ),
)

FIGURES = (
    ("Osterhase", "Easter bunny", "OST", "Ostern"),
    ("Straßenlaterne", "Street lamp", "STR", "Straße"),
    ("Bücherwurm", "Bookworm", "BER", "Berufe"),
    ("Schneemann", "Snowman", "WEI", "Weihnachten"),
    ("Nußknacker", "Nutcracker", "WEI", "Weihnachten"),
    ("Engel", "Angel", "WEI", "Weihnachten"),
    ("Gänseliesel", "Goose girl", "MÄR", "Märchen"),
    ("Rotkäppchen", "Little Red Riding Hood", "MÄR", "Märchen"),
    ("Bürgermeister", "Mayor", "BER", "Berufe"),
    ("Schäferin", "Shepherdess", "BER", "Berufe"),
    ("Kürbis", "Pumpkin", "HER", "Herbst"),
    ("Schlüsselblume", "Cowslip", "BLU", "Blumen"),
    ("Leuchtturm", "Lighthouse", "MEE", "Meer"),
    ("Segelschiff", "Sailing ship", "MEE", "Meer"),
    ("Fachwerkhaus", "Half-timbered house", "STR", "Straße"),
    ("Drehorgelspieler", "Organ grinder", "BER", "Berufe"),
)
EXTRAS = (
    ("mit Korb", "with basket"),
    ("auf Sockel", "on a base"),
    ("im Grünen", "in the green"),
    ("mit Glöckchen", "with bell"),
    ("groß", "large"),
    ("klein", "small"),
    ("sitzend", "sitting"),
    ("zum Hängen", "for hanging"),
    ("mit Schleife", "with bow"),
    ("nostalgisch", "nostalgic"),
)
COLOURS = ("blau", "rot", "grün", "weiß", "gold", "natur", "türkis", None, None)
_SIZES = ("S", "M", "L", "XL", None, None, None)
_CODES = ("BE", "BL", "BE", "BL", "BEG", "GO")


class Article(NamedTuple):
    """A variant other tables may refer to without a question."""

    number: str  # alteNummer
    ref: int  # refOld
    base: str
    name: str
    cents: int


class Articles(NamedTuple):
    """What other tables know of the products."""

    sound: list[Article]
    bases: list[str]  # of the families of sound variants
    doubled: list[str]  # old numbers that several variants have


def add_products(store: Store, wanted: Wanted) -> Articles:
    """Families and variants; some families are not in the store yet but in `store.arriving`."""
    store.add_table(FAMILY_TABLE)
    store.add_table(VARIANT_TABLE)
    dice = wanted.dice("families")
    late = max(1, wanted.families // 400)
    rows = [_family(dice, number, wanted.today) for number in range(wanted.families + late)]
    families, arriving = rows[: wanted.families], rows[wanted.families :]
    _spoil_families(dice, families)
    dice = wanted.dice("variants")
    variants = _variants(dice, families, wanted.variants, wanted.today)
    _spoil_variants(dice, variants, arriving)
    store.load(FAMILIES, families)
    store.load(VARIANTS, variants)
    store.arriving = [(FAMILIES, row) for row in arriving]
    return _articles(families, variants, wanted.dice("prices of articles"))


def _articles(families: list[Row], variants: list[Row], dice: random.Random) -> Articles:
    """The variants whose own and whose family's name and number raise no question."""
    homes = {row["UID"] for row in _unquestioned(families)}
    count = Counter(row["alteNummer"] for row in variants)
    sound = [
        Article(str(row["alteNummer"]), int(str(row["refOld"])), str(row["fk_ArtNr"]), str(row["Bezeichnung"]), cents)
        for row in _unquestioned(variants)
        if row["Familie_"] in homes and row["refOld"] and row["fk_ArtNr"] and count[row["alteNummer"]] == 1
        for cents in (dice.randrange(400, 9000),)
    ]
    doubled = [str(number) for number, rows in count.items() if rows > 1 and number]
    return Articles(sound, list(dict.fromkeys(article.base for article in sound)), doubled)


def _unquestioned(rows: list[Row]) -> list[Row]:
    count = Counter(str(row["Nummer"]) for row in rows)
    return [row for row in rows if str(row["Bezeichnung"] or "").strip() and count[str(row["Nummer"])] == 1]


# --- clean rows ----------------------------------------------------------------------------------


def _measures(dice: random.Random) -> Row:
    return {
        "Masse_Breite": dice.randrange(5, 200) / 2,
        "Masse_Hoehe": dice.randrange(10, 300) / 2,
        "Masse_Tiefe": dice.choice([5.0, 3.0, 2.5, None]),
    }


def _release(dice: random.Random) -> str:
    if dice.random() < 0.2:
        return "0!0!0"
    return f"{dice.randrange(1, 29)}!{dice.randrange(1, 13)}!{dice.randrange(1991, 2025)}"


def _family(dice: random.Random, number: int, today: date) -> Row:
    german, english, code, group = dice.choice(FIGURES)
    extra, extra_english = dice.choice(EXTRAS)
    uid = new_uuid(dice)
    return {
        "UID": uid,
        "Nummer": 900_001 + number * 7,
        "oldArtKalk": str(10_000 + number),
        "Bezeichnung": f"{german} {extra}",
        "Bezeichnung_ENG": f"{english} {extra_english}",
        "Beschreibung": f"{german} aus Zinn, handbemalt, {extra}",
        "Beschreibung_ENG": f"Pewter {english.lower()}, hand painted",
        "Beschreibung_kurz": dice.choice([german, "", None]),
        "Beschreibung_kurz_ENG": dice.choice([english, "", None]),
        "Gewicht": dice.randrange(2, 400) / 4,
        **_measures(dice),
        "ArtGr": code,
        "Gruppe": group,
        "Haengend": dice.random() < 0.3,
        "Einseitig": dice.random() < 0.2,
        "Release_date": _release(dice),
        "Neu": dice.random() < 0.05,
        "aktiv": dice.random() < 0.85,
        **audit(dice, today),
    }


def _variants(dice: random.Random, parents: list[Row], count: int, today: date) -> list[Row]:
    """Variants of all families but those that have none, at most 45 each."""
    childless = share_of(len(parents), 275 / 1571)
    mothers = dice.sample(parents, len(parents) - childless)
    children = [1] * len(mothers)
    for _ in range(count - len(mothers)):
        place = min(int(dice.expovariate(4 / len(mothers))), len(mothers) - 1)
        while children[place] >= 45:
            place = (place + 1) % len(mothers)
        children[place] += 1
    rows: list[Row] = []
    for mother, wanted in zip(mothers, children, strict=True):
        for place in range(wanted):
            if len(rows) < count:
                rows.append(_variant(dice, mother, len(rows), place, today))
    return rows


def _variant(dice: random.Random, mother: Row, number: int, place: int, today: date) -> Row:
    base, code = str(mother["oldArtKalk"]), _CODES[place % len(_CODES)] + (str(place // 6) if place >= 6 else "")
    colour = dice.choice(COLOURS)
    return {
        "UID": new_uuid(dice),
        "Nummer": 700_003 + number * 11,
        "alteNummer": f"{base}-{code}",
        "fk_ArtNr": base,
        "ArtikelArt": code,
        "Familie_": mother["UID"],
        "refOld": 16_000 + number,
        "Bezeichnung": f"{mother['Bezeichnung'] or 'Figur'} {'bemalt' if code.startswith('BE') else 'blank'}",
        "Bezeichnung_ENG": str(mother["Bezeichnung_ENG"]),
        "Bez_kurz": str(mother["Bezeichnung"] or "Figur")[:8] + ".",
        "Beschreibung": dice.choice(["handbemalt", "blank, zum Selbstbemalen", ""]),
        "Beschreibung_ENG": dice.choice(["hand painted", "", None]),
        "Beschreibung_kurz": dice.choice(["kurz", "", None]),
        "Beschreibung_kurz_ENG": dice.choice(["short", "", None]),
        "Gewicht": dice.randrange(2, 900) / 1000,
        **_measures(dice),
        "Farbe": colour,
        "Groesse": dice.choice(_SIZES),
        "Verkaufsartikel": dice.random() < 0.9,
        "Aktiv": dice.random() < 0.8,
        "neu": dice.random() < 0.05,
        "Release_date": _release(dice),
        "Auslaufdatum": _release(dice) if dice.random() < 0.1 else "0!0!0",
        "Preise": _prices(dice),
        "Properties": {"results": [{"name": "Farbe", "value": colour}]} if colour else None,
        "ArtGruppe": mother["ArtGr"],
        **audit(dice, today),
    }


def _prices(dice: random.Random) -> Row:
    shop = dice.randrange(400, 9000) / 100
    return {
        "Coll": [
            {"Art": "Laden", "Preis": shop, "VE": 1},
            {"Art": "Handel", "Preis": round(shop * 0.45, 2), "VE": dice.choice([1, 1, 3, 6])},
            {"Art": "Empf.", "Preis": round(shop * 0.9, 2), "VE": 1},
            {"Art": "Einkauf", "Preis": round(shop * 0.17, 3), "VE": 1},
        ]
    }


# --- surprises -----------------------------------------------------------------------------------


def _spoil_dates(dice: random.Random, rows: list[Row]) -> None:
    spellings = ((0.01, "4!6!92"), (0.005, "1!1!49"), (0.01, "01!06!2020"), (0.002, "31!2!2018"), (0.01, None))
    for share, text in spellings:
        for row in some(dice, rows, share):
            row["Release_date"] = text


def _spoil_texts(dice: random.Random, rows: list[Row]) -> None:
    """Control characters, NUL, line ends of an old Mac, numbers where texts belong and the other way round."""
    for row, text in zip(
        dice.sample(rows, 4), ("Zinn\x00figur", "Zeile 1\rZeile 2", "Tab\there", "\x0bAlt"), strict=True
    ):
        row["Beschreibung_ENG"] = text
    for row, weight in zip(dice.sample(rows, 4), ("ca. 12", "12,5", "0.75", "unbekannt"), strict=True):
        row["Gewicht"] = weight
    for row in dice.sample(rows, 3):
        row["Nummer"] = str(row["Nummer"])
    for row in some(dice, rows, 0.01):
        row["Bezeichnung_ENG"] = f"  {row['Bezeichnung_ENG']} "


def _blank_and_double(dice: random.Random, rows: list[Row]) -> None:
    """Three blank names; two rows with one Nummer."""
    first, second, third, one, other = dice.sample(rows, 5)
    first["Bezeichnung"], second["Bezeichnung"], third["Bezeichnung"] = "", None, "   "
    other["Nummer"] = one["Nummer"]


def _spoil_families(dice: random.Random, rows: list[Row]) -> None:
    for row in some(dice, rows, 0.08):
        row["Beschreibung"] = {"DE": row["Beschreibung"], "EN": row["Beschreibung_ENG"]}
    for row in some(dice, rows, 0.03):
        row["Beschreibung"] = json_text({"DE": row["Bezeichnung"]})
    for row in some(dice, rows, 219 / 1571):
        row["Beschreibung"] = None
    for row, flag in zip(dice.sample(rows, 4), (1, 0, "true", "0"), strict=True):
        row["aktiv"] = flag
    _spoil_dates(dice, rows)
    _spoil_texts(dice, rows)
    _blank_and_double(dice, rows)


def _spoil_variants(dice: random.Random, rows: list[Row], arriving: list[Row]) -> None:
    for row in some(dice, rows, 0.03):
        row["alteNummer"] = dice.choice(rows)["alteNummer"]
    for row, number in zip(dice.sample(rows, 5), ("A-B-C", "4711", "-BE", "9305BUE-BE", None), strict=True):
        row["alteNummer"], row["fk_ArtNr"] = number, None
    for row in some(dice, rows, 0.05):
        row["refOld"] = 0
    for row, code in zip(dice.sample(rows, 4), ("BEMALT-GOLD-XL", "", None, "be"), strict=True):
        row["ArtikelArt"] = code
    for row in some(dice, rows, 0.02):
        row["Beschreibung"] = {"DE": row["Beschreibung"]}
    _spoil_prices(dice, rows)
    _spoil_dates(dice, rows)
    _spoil_texts(dice, rows)
    _blank_and_double(dice, rows)
    orphans = [row for row in some(dice, rows, 0.02) if str(row["Bezeichnung"] or "").strip()]
    for place, row in enumerate(orphans):
        row["Familie_"] = new_uuid(dice)
        if place < 3 * len(arriving):  # these only wait for a family that is saved later
            row["Familie_"] = arriving[place % len(arriving)]["UID"]
        if place == 3 * len(arriving):
            row["Familie_"] = None


def _spoil_prices(dice: random.Random, rows: list[Row]) -> None:
    for row in some(dice, rows, 0.03):
        row["Preise"] = json_text(row["Preise"])
    lists: tuple[object, ...] = (None, {"Coll": []}, {}, "", "[kaputt")
    for prices in lists:
        for row in some(dice, rows, 0.003):
            row["Preise"] = prices
    damages: tuple[Row, ...] = (
        {"Art": "Laden", "Preis": "auf Anfrage", "VE": 1},
        {"Art": "LADEN", "Preis": 17.005, "VE": "3"},
        {"Art": "Handel", "Preis": None, "VE": 6},
        {"Art": "Handel", "Preis": "17,80", "VE": 1},
        {"Preis": 3},
    )
    for damage in damages:
        for row in some(dice, rows, 0.003):
            row["Preise"] = {"Coll": [damage, {"Art": "Empf.", "Preis": 9.9, "VE": 1}]}


# --- a day's work --------------------------------------------------------------------------------


def work_on_products(desk: Desk) -> None:
    """Names, prices and flags edited, a bad row repaired, a few rows added, a missing parent saved."""
    desk.edit(FAMILIES, _edit_family)
    desk.edit(VARIANTS, _edit_variant)
    store, done = desk.store, desk.done
    done.fixed = _repair_one(store)
    _insert_some(desk)
    if store.arriving:
        table, row = store.arriving.pop(0)
        done.arrived = store.insert(table, without_audit(row))
        done.waiting = [str(v["UID"]) for v in store.rows(VARIANTS) if v["Familie_"] == done.arrived]


def _edit_family(dice: random.Random, row: Row) -> Row:
    return _toggle(row, "aktiv") if dice.random() < 0.2 else _rename(dice, row)


def _edit_variant(dice: random.Random, row: Row) -> Row:
    lot = dice.random()
    if lot < 0.2:
        return _toggle(row, "Aktiv")
    return {"Preise": _prices(dice)} if lot < 0.7 else _rename(dice, row)


def _toggle(row: Mapping[str, object], flag: str) -> Row:
    return {flag: row[flag] in (False, 0, "0", None)}


def _rename(dice: random.Random, row: Mapping[str, object]) -> Row:
    return {"Bezeichnung_ENG": f"{str(row['Bezeichnung_ENG'] or 'Figure').strip()} ({dice.randrange(2, 10**6)})"}


def _repair_one(store: Store) -> str | None:
    for row in store.rows(VARIANTS):
        if not str(row["Bezeichnung"] or "").strip():
            store.update(VARIANTS, str(row["UID"]), {"Bezeichnung": "Zinnfigur nachbenannt"})
            return str(row["UID"])
    return None


def _insert_some(desk: Desk) -> None:
    """One new family with two variants, and two more variants of an old family."""
    store, dice = desk.store, desk.dice
    today = store.clock.local().date()
    numbers = {t: max(int(str(row["Nummer"])) for row in store.rows(t)) for t in (FAMILIES, VARIANTS)}
    number = numbers[FAMILIES] + 14  # + 7 is the family that was waited for
    family = {**_family(dice, 0, today), "Nummer": number, "oldArtKalk": str(number)}
    desk.add(FAMILIES, family)
    old = desk.pick(FAMILIES)
    for place, mother in enumerate((family, family, old, old)):
        fresh = {**_variant(dice, mother, 0, place, today), "Nummer": numbers[VARIANTS] + 11 * (place + 1), "refOld": 0}
        desk.add(VARIANTS, fresh)
