"""What is a large plain table like, for measuring?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import cast

from legacy_sync.demo.four_d_server.store import AttributeDef, Store, TableDef, compact, iso
from legacy_sync.demo.sample_data.every_row import TODAY, simple
from legacy_sync.demo.sample_data.products import COLOURS, EXTRAS, FIGURES
from legacy_sync.demo.sample_data.table_names import BENCH

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
    texts = [(simple(day), iso(datetime.combine(day, time(9), UTC)), f"1{day:%Y%m%d}") for day in days]
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


def change_bench(store: Store, share: float = 0.01, seed: int = 1, rows: int | None = None) -> list[str]:
    """Change price, quantity and remark of a share of the rows, or of so many, today; returns their keys."""
    dice = random.Random(seed)
    keys = store.tables[BENCH].keys
    changed = dice.sample(range(len(keys)), min(rows or int(len(keys) * share), len(keys)))
    for slot in changed:
        price = dice.randrange(100, 99_999) / 100
        store.update(BENCH, keys[slot], {"Preis": price, "Menge": dice.randrange(1000), "Bemerkung": "geändert"})
    return [keys[slot] for slot in changed]


def _bench_payload(number: int, uid: str, lot: int, created: str, modified: str, timestamp: str) -> bytes:
    german, english, code, _ = FIGURES[lot & 15]
    extra, extra_english = EXTRAS[(lot >> 4) % 10]
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
            "Farbe": COLOURS[(lot >> 5) % 9],
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
