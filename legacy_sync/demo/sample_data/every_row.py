"""What has every row of the old database, whatever its table? A key, dates in 4D's spelling, who saved it when."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from legacy_sync.demo.four_d_server.store import AttributeDef, Row, Store, TableDef, compact, iso

TODAY = date(2025, 3, 6)
NO_DATE = "0!0!0"
CLERKS = ("Admin", "Jürgen", "Müller", "Kasse 1", "Lager")

UID = AttributeDef("UID", "uuid", indexed=True)
AUDIT = (
    AttributeDef("created_name"),
    AttributeDef("created_date", "date"),
    AttributeDef("created_time", "duration"),
    AttributeDef("modified_name"),
    AttributeDef("modified_date", "date", indexed=True),
    AttributeDef("modified_time", "duration"),
)
_SAVED = ("__STAMP", "__TIMESTAMP", *(attribute.name for attribute in AUDIT))
_FEWEST_ROWS = 12
_WHOLE_SIZE = 1600  # families


@dataclass(frozen=True)
class Wanted:
    """Which sample is asked for. Each table has dice of its own, so that no table changes another one."""

    seed: int
    families: int
    variants: int
    today: date

    def dice(self, name: str) -> random.Random:
        """Chance for one purpose, the same each time."""
        return random.Random(f"{self.seed}/{name}")

    def rows(self, whole: int) -> int:
        """How many rows a table gets that has `whole` beside 1600 families."""
        return max(_FEWEST_ROWS, round(whole * self.families / _WHOLE_SIZE))


def attributes(**types: str) -> tuple[AttributeDef, ...]:
    """Attributes in the order given, e.g. `KundenNr="long indexed", Name="string"`."""
    found = []
    for name, said in types.items():
        kind, _, index = said.partition(" ")
        found.append(AttributeDef(name, kind, indexed=bool(index)))
    return tuple(found)


def fill(store: Store, definition: TableDef, rows: list[Row]) -> None:
    """Adds the table with its rows, whose values stand in the order of the attributes; `rows` is used up."""
    table = store.add_table(definition)
    if any(attribute.kind != "storage" for attribute in definition.attributes):
        store.load(definition.name, rows)  # it writes the links
        return
    keys = [str(row[definition.key]) for row in rows]
    table.load_serialised(keys, [_payload(key, row) for key, row in zip(keys, rows, strict=True)])


def _payload(key: str, row: Row) -> bytes:
    envelope = {"__KEY": key, "__TIMESTAMP": row.pop("__TIMESTAMP"), "__STAMP": row.pop("__STAMP")}
    return compact({**envelope, **row})


def new_uuid(dice: random.Random) -> str:
    """32 hexadecimal digits in capitals, as 4D makes keys."""
    return f"{dice.getrandbits(128):032X}"


def simple(day: date) -> str:
    """A day as 4D writes it."""
    return f"{day.day}!{day.month}!{day.year}"


def padded(day: date) -> str:
    """A day as somebody typed it into a text field."""
    return f"{day.day:02d}!{day.month:02d}!{day.year}"


def day_before(dice: random.Random, today: date) -> date:
    """A day of the last eleven years; three of four lie more than two years back, a few in the last month."""
    lot = dice.random()
    if lot < 0.03:
        return today - timedelta(days=dice.randrange(30))
    if lot < 0.25:
        return today - timedelta(days=dice.randrange(30, 730))
    return today - timedelta(days=dice.randrange(731, 4000))


def audit(dice: random.Random, today: date) -> Row:
    """Who made and who last changed a row of any age."""
    modified = day_before(dice, today)
    created = modified - timedelta(days=dice.randrange(0, 5000))
    milliseconds = dice.randrange(7 * 3_600_000, 18 * 3_600_000)
    moment = datetime.combine(modified, time(0), UTC) + timedelta(milliseconds=milliseconds)
    return {
        "__STAMP": dice.randrange(1, 40),
        "__TIMESTAMP": iso(moment),
        "created_name": dice.choice(CLERKS),
        "created_date": simple(created),
        "created_time": dice.randrange(7 * 3600, 18 * 3600) * 1000,
        "modified_name": dice.choice(CLERKS),
        "modified_date": simple(modified),
        "modified_time": milliseconds,
    }


def audit_between(dice: random.Random, created: date, modified: date) -> Row:
    """The same for known days, and quicker."""
    lot = dice.random
    seconds = 25_200 + int(lot() * 39_600)
    minutes, second = divmod(seconds, 60)
    milliseconds = int(lot() * 1000)
    return {
        "__STAMP": 1 + int(lot() * 12),
        "__TIMESTAMP": f"{modified}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{milliseconds:03d}Z",
        "created_name": CLERKS[int(lot() * len(CLERKS))],
        "created_date": simple(created),
        "created_time": 25_200_000 + int(lot() * 39_600) * 1000,
        "modified_name": CLERKS[int(lot() * len(CLERKS))],
        "modified_date": simple(modified),
        "modified_time": seconds * 1000 + milliseconds,
    }


def audit_of(row: Mapping[str, object]) -> Row:
    """Who made and who last changed that row, for another one that was saved together with it."""
    return {name: row[name] for name in _SAVED}


def without_audit(row: Mapping[str, object]) -> Row:
    """The row without what the server sets itself when it saves."""
    return {k: v for k, v in row.items() if not k.startswith(("__", "created_", "modified_"))}
