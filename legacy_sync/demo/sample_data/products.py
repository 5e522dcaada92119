"""What would a real old database hold, surprises included? Seeded, so that every run sees the same rows.

`build_store` gives Artikel_Familie and Artikel_Variante as a figure maker's 4D has them after thirty years:
duplicates, orphans, blank names, impossible dates, prices as text. `change_some` is a day's work on them.
`wide_table` is a large plain table for measuring. A further table is one more TableDef and one more generator.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import cast

import orjson

from legacy_sync.demo.four_d_server.store import AttributeDef, Row, Store, TableDef, compact, iso

FAMILIES = "Artikel_Familie"
VARIANTS = "Artikel_Variante"
BENCH = "Bench"
TODAY = date(2025, 3, 6)

_AUDIT = (
    AttributeDef("created_name"),
    AttributeDef("created_date", "date"),
    AttributeDef("created_time", "duration"),
    AttributeDef("modified_name"),
    AttributeDef("modified_date", "date", indexed=True),
    AttributeDef("modified_time", "duration"),
)
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
        AttributeDef("UID", "uuid", indexed=True),
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
        *_AUDIT,
        AttributeDef("Relation_93", kind="relatedEntities", target=VARIANTS, inverse="Relation_94"),
    ),
)
VARIANT_TABLE = TableDef(
    VARIANTS,
    number=13,
    attributes=(
        AttributeDef("UID", "uuid", indexed=True),
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
        *_AUDIT,
        AttributeDef(
            "Relation_94", kind="relatedEntity", target=FAMILIES, foreign_key="Familie_", inverse="Relation_93"
        ),
    ),
)

_FIGURES = (
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
_EXTRAS = (
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
_COLOURS = ("blau", "rot", "grün", "weiß", "gold", "natur", "türkis", None, None)
_SIZES = ("S", "M", "L", "XL", None, None, None)
_CLERKS = ("Admin", "Jürgen", "Müller", "Kasse 1", "Lager")
_CODES = ("BE", "BL", "BE", "BL", "BEG", "GO")


@dataclass
class Summary:
    """What a day's work changed: keys by table, the family that arrived, who waited for it, the repaired row."""

    edited: dict[str, list[str]] = field(default_factory=lambda: {FAMILIES: [], VARIANTS: []})
    inserted: dict[str, list[str]] = field(default_factory=lambda: {FAMILIES: [], VARIANTS: []})
    arrived: str | None = None
    waiting: list[str] = field(default_factory=list)
    fixed: str | None = None


def build_store(seed: int = 1, families: int = 1600, variants: int = 4300, today: date = TODAY) -> Store:
    """A database with families and variants; some families are not in it yet but in `store.arriving`."""
    store = Store()
    store.add_table(FAMILY_TABLE)
    store.add_table(VARIANT_TABLE)
    dice = random.Random(f"{seed}/families")
    late = max(1, families // 400)
    family_rows = [_family(dice, number, today) for number in range(families + late)]
    parents, arriving = family_rows[:families], family_rows[families:]
    _spoil_families(dice, parents)
    dice = random.Random(f"{seed}/variants")
    variant_rows = _variants(dice, parents, variants, today)
    _spoil_variants(dice, variant_rows, arriving)
    store.load(FAMILIES, parents)
    store.load(VARIANTS, variant_rows)
    store.arriving = [(FAMILIES, row) for row in arriving]
    return store


def change_some(store: Store, seed: int = 0) -> Summary:
    """A day's work: about 1 % of the rows edited, a few added, a missing parent saved, a bad row repaired."""
    dice = random.Random(f"{seed}/changes")
    done = Summary()
    with store.lock:
        for table in (FAMILIES, VARIANTS):
            keys = sorted(store.tables[table].position)
            for key in sorted(dice.sample(keys, max(1, len(keys) // 100))):
                store.update(table, key, _edit(dice, table, store.get(table, key)))
                done.edited[table].append(key)
        done.fixed = _repair_one(store)
        _insert_some(store, dice, done)
        if store.arriving:
            table, row = store.arriving.pop(0)
            done.arrived = store.insert(table, _without_audit(row))
            done.waiting = [str(v["UID"]) for v in store.rows(VARIANTS) if v["Familie_"] == done.arrived]
    return done


# --- clean rows ----------------------------------------------------------------------------------


def _uuid(dice: random.Random) -> str:
    return f"{dice.getrandbits(128):032X}"


def _simple(day: date) -> str:
    return f"{day.day}!{day.month}!{day.year}"


def _day_before(dice: random.Random, today: date) -> date:
    """A day of the last eleven years; three of four lie more than two years back, a few in the last month."""
    lot = dice.random()
    if lot < 0.03:
        return today - timedelta(days=dice.randrange(30))
    if lot < 0.25:
        return today - timedelta(days=dice.randrange(30, 730))
    return today - timedelta(days=dice.randrange(731, 4000))


def _audit(dice: random.Random, today: date) -> Row:
    modified = _day_before(dice, today)
    created = modified - timedelta(days=dice.randrange(0, 5000))
    milliseconds = dice.randrange(7 * 3_600_000, 18 * 3_600_000)
    moment = datetime.combine(modified, time(0), UTC) + timedelta(milliseconds=milliseconds)
    return {
        "__STAMP": dice.randrange(1, 40),
        "__TIMESTAMP": iso(moment),
        "created_name": dice.choice(_CLERKS),
        "created_date": _simple(created),
        "created_time": dice.randrange(7 * 3600, 18 * 3600) * 1000,
        "modified_name": dice.choice(_CLERKS),
        "modified_date": _simple(modified),
        "modified_time": milliseconds,
    }


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
    german, english, code, group = dice.choice(_FIGURES)
    extra, extra_english = dice.choice(_EXTRAS)
    uid = _uuid(dice)
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
        **_audit(dice, today),
    }


def _variants(dice: random.Random, parents: list[Row], count: int, today: date) -> list[Row]:
    """Variants of all families but those that have none, at most 45 each."""
    childless = _share(len(parents), 275 / 1571)
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
    colour = dice.choice(_COLOURS)
    return {
        "UID": _uuid(dice),
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
        **_audit(dice, today),
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


def _share(count: int, share: float) -> int:
    return max(1, round(count * share))


def _some(dice: random.Random, rows: list[Row], share: float) -> list[Row]:
    return dice.sample(rows, _share(len(rows), share))


def _json_text(value: object) -> str:
    return orjson.dumps(value).decode()


def _spoil_dates(dice: random.Random, rows: list[Row]) -> None:
    spellings = ((0.01, "4!6!92"), (0.005, "1!1!49"), (0.01, "01!06!2020"), (0.002, "31!2!2018"), (0.01, None))
    for share, text in spellings:
        for row in _some(dice, rows, share):
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
    for row in _some(dice, rows, 0.01):
        row["Bezeichnung_ENG"] = f"  {row['Bezeichnung_ENG']} "


def _blank_and_double(dice: random.Random, rows: list[Row]) -> None:
    """Three blank names; two rows with one Nummer."""
    first, second, third, one, other = dice.sample(rows, 5)
    first["Bezeichnung"], second["Bezeichnung"], third["Bezeichnung"] = "", None, "   "
    other["Nummer"] = one["Nummer"]


def _spoil_families(dice: random.Random, rows: list[Row]) -> None:
    for row in _some(dice, rows, 0.08):
        row["Beschreibung"] = {"DE": row["Beschreibung"], "EN": row["Beschreibung_ENG"]}
    for row in _some(dice, rows, 0.03):
        row["Beschreibung"] = _json_text({"DE": row["Bezeichnung"]})
    for row in _some(dice, rows, 219 / 1571):
        row["Beschreibung"] = None
    for row, flag in zip(dice.sample(rows, 4), (1, 0, "true", "0"), strict=True):
        row["aktiv"] = flag
    _spoil_dates(dice, rows)
    _spoil_texts(dice, rows)
    _blank_and_double(dice, rows)


def _spoil_variants(dice: random.Random, rows: list[Row], arriving: list[Row]) -> None:
    for row in _some(dice, rows, 0.03):
        row["alteNummer"] = dice.choice(rows)["alteNummer"]
    for row, number in zip(dice.sample(rows, 5), ("A-B-C", "4711", "-BE", "9305BUE-BE", None), strict=True):
        row["alteNummer"], row["fk_ArtNr"] = number, None
    for row in _some(dice, rows, 0.05):
        row["refOld"] = 0
    for row, code in zip(dice.sample(rows, 4), ("BEMALT-GOLD-XL", "", None, "be"), strict=True):
        row["ArtikelArt"] = code
    for row in _some(dice, rows, 0.02):
        row["Beschreibung"] = {"DE": row["Beschreibung"]}
    _spoil_prices(dice, rows)
    _spoil_dates(dice, rows)
    _spoil_texts(dice, rows)
    _blank_and_double(dice, rows)
    orphans = [row for row in _some(dice, rows, 0.02) if str(row["Bezeichnung"] or "").strip()]
    for place, row in enumerate(orphans):
        row["Familie_"] = _uuid(dice)
        if place < 3 * len(arriving):  # these only wait for a family that is saved later
            row["Familie_"] = arriving[place % len(arriving)]["UID"]
        if place == 3 * len(arriving):
            row["Familie_"] = None


def _spoil_prices(dice: random.Random, rows: list[Row]) -> None:
    for row in _some(dice, rows, 0.03):
        row["Preise"] = _json_text(row["Preise"])
    lists: tuple[object, ...] = (None, {"Coll": []}, {}, "", "[kaputt")
    for prices in lists:
        for row in _some(dice, rows, 0.003):
            row["Preise"] = prices
    damages: tuple[Row, ...] = (
        {"Art": "Laden", "Preis": "auf Anfrage", "VE": 1},
        {"Art": "LADEN", "Preis": 17.005, "VE": "3"},
        {"Art": "Handel", "Preis": None, "VE": 6},
        {"Art": "Handel", "Preis": "17,80", "VE": 1},
        {"Preis": 3},
    )
    for damage in damages:
        for row in _some(dice, rows, 0.003):
            row["Preise"] = {"Coll": [damage, {"Art": "Empf.", "Preis": 9.9, "VE": 1}]}


# --- a day's work --------------------------------------------------------------------------------


def _edit(dice: random.Random, table: str, row: Mapping[str, object]) -> Row:
    """One believable change of one row; it always differs from what was there."""
    lot = dice.random()
    active = "aktiv" if table == FAMILIES else "Aktiv"
    if lot < 0.2:
        return {active: row[active] in (False, 0, "0", None)}
    if table == VARIANTS and lot < 0.7:
        return {"Preise": _prices(dice)}
    return {"Bezeichnung_ENG": f"{str(row['Bezeichnung_ENG'] or 'Figure').strip()} ({dice.randrange(2, 10**6)})"}


def _repair_one(store: Store) -> str | None:
    for row in store.rows(VARIANTS):
        if not str(row["Bezeichnung"] or "").strip():
            store.update(VARIANTS, str(row["UID"]), {"Bezeichnung": "Zinnfigur nachbenannt"})
            return str(row["UID"])
    return None


def _insert_some(store: Store, dice: random.Random, done: Summary) -> None:
    """One new family with two variants, and two more variants of an old family."""
    today = store.clock.local().date()
    numbers = {t: max(int(str(row["Nummer"])) for row in store.rows(t)) for t in (FAMILIES, VARIANTS)}
    number = numbers[FAMILIES] + 14  # + 7 is the family that was waited for
    family = {**_family(dice, 0, today), "Nummer": number, "oldArtKalk": str(number)}
    done.inserted[FAMILIES].append(store.insert(FAMILIES, _without_audit(family)))
    old = store.get(FAMILIES, dice.choice(sorted(store.tables[FAMILIES].position)))
    for place, mother in enumerate((family, family, old, old)):
        fresh = {**_variant(dice, mother, 0, place, today), "Nummer": numbers[VARIANTS] + 11 * (place + 1), "refOld": 0}
        done.inserted[VARIANTS].append(store.insert(VARIANTS, _without_audit(fresh)))


def _without_audit(row: Mapping[str, object]) -> Row:
    """The row without what the server sets itself when it saves."""
    return {k: v for k, v in row.items() if not k.startswith(("__", "created_", "modified_"))}


# --- a large table -------------------------------------------------------------------------------

_BENCH_TABLE = TableDef(
    BENCH,
    number=99,
    attributes=(
        AttributeDef("UID", "uuid", indexed=True),
        AttributeDef("ID", "long", indexed=True),
        AttributeDef("Nummer", "long"),
        *(AttributeDef(name) for name in ("Bezeichnung", "Bezeichnung_ENG", "Beschreibung", "Farbe", "ArtGruppe")),
        *(AttributeDef(name) for name in ("Ort", "PLZ", "Bemerkung")),
        *(AttributeDef(name, "number") for name in ("Preis", "Einkauf", "Gewicht")),
        AttributeDef("Menge", "long"),
        AttributeDef("Aktiv", "bool"),
        AttributeDef("Liefersperre", "bool"),
        AttributeDef("created_date", "date"),
        AttributeDef("modified_date", "date", indexed=True),
        AttributeDef("modified_time", "duration"),
    ),
)


def wide_table(rows: int, seed: int = 1, today: date = TODAY) -> Store:
    """A database with the one table Bench: `rows` plain rows of 20 columns, no surprises."""
    store = Store()
    table = store.add_table(_BENCH_TABLE)
    dice = random.Random(seed)
    days = [today - timedelta(days=n) for n in range(3000)]
    texts = [(_simple(day), iso(datetime.combine(day, time(9), UTC)), f"1{day:%Y%m%d}") for day in days]
    keys: list[str] = []
    payloads: list[bytes] = []
    uid_column: list[str] = []
    day_column: list[str] = []
    step = (1 << 128) // max(1, rows)
    for number in range(rows):
        lot = dice.getrandbits(60)
        uid = f"{number * step + lot:032X}"
        modified, timestamp, sortable = texts[lot % 3000]
        keys.append(uid)
        payloads.append(_bench_payload(number, uid, lot, texts[(lot >> 3) % 3000][0], modified, timestamp))
        uid_column.append("2" + uid.lower())
        day_column.append(sortable)
    table.load_serialised(keys, payloads, {"UID": uid_column, "modified_date": day_column})
    return store


def change_bench(store: Store, share: float = 0.01, seed: int = 1) -> list[str]:
    """Change price, quantity and remark of a share of the rows today; returns their keys."""
    dice = random.Random(seed)
    keys = store.tables[BENCH].keys
    changed = dice.sample(range(len(keys)), int(len(keys) * share))
    for slot in changed:
        price = dice.randrange(100, 99_999) / 100
        store.update(BENCH, keys[slot], {"Preis": price, "Menge": dice.randrange(1000), "Bemerkung": "geändert"})
    return [keys[slot] for slot in changed]


def _bench_payload(number: int, uid: str, lot: int, created: str, modified: str, timestamp: str) -> bytes:
    german, english, code, _ = _FIGURES[lot & 15]
    extra, extra_english = _EXTRAS[(lot >> 4) % 10]
    price = (lot >> 8) % 99_999 / 100
    return compact(
        {
            "__KEY": uid,
            "__TIMESTAMP": timestamp,
            "__STAMP": 1 + (lot & 31),
            "UID": uid,
            "ID": number + 1,
            "Nummer": 100_000 + number,
            "Bezeichnung": f"{german} {extra}",
            "Bezeichnung_ENG": f"{english} {extra_english}",
            "Beschreibung": f"{german} aus Zinn, handbemalt, {extra}",
            "Farbe": _COLOURS[(lot >> 5) % 9],
            "ArtGruppe": code,
            "Ort": cast("Sequence[str]", ("Dießen", "München", "Köln", "Görlitz"))[(lot >> 6) & 3],
            "PLZ": f"{(lot >> 7) % 100_000:05d}",
            "Bemerkung": "alt" if lot & 1 else None,
            "Preis": price,
            "Einkauf": round(price * 0.17, 3),
            "Gewicht": ((lot >> 9) % 9000) / 1000,
            "Menge": (lot >> 10) % 1000,
            "Aktiv": bool(lot & 2),
            "Liefersperre": bool(lot & 4),
            "created_date": created,
            "modified_date": modified,
            "modified_time": (lot >> 11) % 86_400_000,
        }
    )
