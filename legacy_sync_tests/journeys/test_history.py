"""Do both sides agree whenever 4D has been quiet for a run, whatever happened there before?

Each way of finding changes goes through the same seeded history: records are saved, deleted, made anew under their
old or another key, saved while they are being read; the clock and the counter of 4D jump. HISTORY_STEPS and
HISTORY_SEED make it longer or another one.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from journey_setup import MONTHS, PARENTS, Journey, empty_store, key_of

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.sync import compact
from legacy_sync.sync.pipeline import load_entity

TABLE = "Artikel_Familie"
STEPS = int(os.environ.get("HISTORY_STEPS", "50"))
SEED = int(os.environ.get("HISTORY_SEED", "20261128"))
NUMBERS = 60
KEYS = {"type": "key_range", "buckets": 4}
SOFT = {"policy": "set", "set": {"is_active": False, "is_discontinued": True}, "max_share": 1.0}
HARD = {"policy": "delete", "set": {}, "max_share": 1.0}
SOFT_SWEPT, HARD_SWEPT = SOFT | {"sweep": "0s"}, HARD | {"sweep": "0s"}
STAMP = {"strategy": "global_stamp"}
DAYS = {"source": {"cursor": "modified_date"}}

WAYS: dict[str, dict[str, Any]] = {
    "days": {**DAYS, "deletes": SOFT_SWEPT},
    "days, rows deleted": {**DAYS, "deletes": HARD_SWEPT},
    "days by months": {**DAYS, "deletes": SOFT_SWEPT, "partitions": {**MONTHS, "start": date(2026, 6, 1)}},
    "fingerprint": {"change_detection": {"strategy": "fingerprint"}, "deletes": SOFT},
    "fingerprint, rows deleted": {"change_detection": {"strategy": "fingerprint"}, "deletes": HARD},
    "stamps": {"change_detection": STAMP, "deletes": SOFT},
    "stamps, rows deleted": {"change_detection": STAMP, "deletes": HARD},
    "stamps by keys": {"change_detection": STAMP, "deletes": SOFT, "partitions": KEYS},
    "stamps by months": {**DAYS, "change_detection": STAMP, "deletes": SOFT, "partitions": MONTHS},
}


class History:
    """What happens in 4D, one step after the other."""

    def __init__(self, journey: Journey, seed: int, *, tracked: bool, frees_numbers: bool) -> None:
        self.journey = journey
        self.store = journey.store
        self.random = random.Random(seed)
        self.tracked = tracked
        self.frees_numbers = frees_numbers
        self.renumbered = 0

    def step(self) -> None:
        """One thing happens."""
        steps = (self.save, self.save, self.save, self.add, self.add, self.delete, self.move, self.renumber)
        self.random.choice(steps)()

    def jump(self) -> Literal["clock", "counter", ""]:
        """Rarely the clock or the counter of the server moves by itself."""
        if self.random.random() < 0.08:
            self.store.clock.advance(hours=self.random.choice([1, 5, 30, 200, -2, -60]))
            return "clock"
        if self.tracked and self.random.random() < 0.06:
            self.store.set_global_stamp(max(1, self.store.global_stamp + self.random.choice([1000, -1, -40, -10_000])))
            return "counter"
        return ""

    def numbers(self) -> dict[int, str]:
        """The keys of all records by number."""
        return {row["Nummer"]: row["UID"] for row in self.store.rows(TABLE)}

    def add(self) -> None:
        """A number that is free is taken, by a record with a new key."""
        free = sorted(set(range(1, NUMBERS)) - set(self.numbers()))
        if free:
            key = key_of(self.random.getrandbits(128))
            self.journey.family(self.random.choice(free), UID=key, Bezeichnung=self.name())

    def save(self) -> None:
        """Somebody saves another name."""
        if key := self.some_key():
            self.journey.edit(key, Bezeichnung=self.name(), aktiv=self.random.random() < 0.8)

    def delete(self) -> None:
        """Somebody deletes a record."""
        if (key := self.some_key()) and len(self.numbers()) > 5:
            self.store.delete(TABLE, key)

    def move(self) -> None:
        """A record is made anew under another key, or under the same."""
        if key := self.some_key():
            row = self.store.get(TABLE, key)
            self.store.delete(TABLE, key)
            anew = self.random.choice([key, key_of(self.random.getrandbits(128))])
            self.journey.family(row["Nummer"], UID=anew, Bezeichnung=self.name())

    def renumber(self) -> None:
        """A record gets another number; one that nobody ever had, if the rows of deleted records keep theirs."""
        self.renumbered += 1
        free = sorted(set(range(1, NUMBERS)) - set(self.numbers())) if self.frees_numbers else [1000 + self.renumbered]
        if (key := self.some_key()) and free:
            self.journey.edit(key, Nummer=self.random.choice(free))

    def name(self) -> str:
        """A name that no record had before."""
        return f"Name {self.random.getrandbits(40):x}"

    def some_key(self) -> str | None:
        """The key of a record."""
        keys = sorted(self.numbers().values())
        return self.random.choice(keys) if keys else None

    def meddle(self, table: str, _number: int) -> None:
        """People go on while a fetch runs."""
        if table == TABLE and self.random.random() < 0.7:
            self.step()


@contextmanager
def meddled_with(history: History) -> Iterator[None]:
    """While this lasts, 4D changes between one request and the next."""
    history.journey.server.on_data_request = history.meddle
    yield
    history.journey.server.on_data_request = None


@pytest.fixture
def desk_of(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(compact, "AT_MOST", 3)  # so that fetches are merged many times
    opened = []

    def desk(way: dict[str, Any]) -> Journey:
        server = FourDServer(empty_store())
        server.__enter__()
        if way.get("change_detection") == STAMP:
            server.store.enable_tracking(TABLE)
        journey = Journey(server, erp_url, tmp_path)
        journey.remap(PARENTS, **{**way, "source": {"page_size": 7, **way.get("source", {})}})
        opened.append(journey)
        return journey

    yield desk
    for journey in opened:
        journey.close()
        journey.server.__exit__(None, None, None)


def differences(journey: Journey) -> list[str]:
    """What the ERP has otherwise than 4D."""
    found = []
    erp = {row["sku"]: row for row in journey.query(f"select * from {PARENTS}")}
    legacy = {str(row["Nummer"]): row for row in journey.store.rows(TABLE)}
    for sku, row in legacy.items():
        there = erp.get(sku)
        if there is None:
            found.append(f"{sku} is missing")
        elif (there["name"], there["is_active"], there["legacy_id"]) != (row["Bezeichnung"], row["aktiv"], row["UID"]):
            found.append(f"{sku} is {there['name'], there['is_active'], there['legacy_id']}, not {row}")
    alive = {sku for sku, row in erp.items() if row["is_active"]}
    hard = journey.said[PARENTS]["deletes"]["policy"] == "delete"
    found += [f"{sku} should be gone" for sku in sorted((set(erp) if hard else alive) - set(legacy))]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_both_sides_agree_after_every_quiet_run(way: str, desk_of: Any):
    journey = desk_of(WAYS[way])
    tracked, hard = WAYS[way].get("change_detection") == STAMP, "rows deleted" in way
    history = History(journey, SEED, tracked=tracked, frees_numbers=hard)
    for _ in range(30):
        history.add()
    for number in range(STEPS):
        history.step()
        chance = history.random.random()
        if chance < 0.15:
            with meddled_with(history):
                journey.run()
        elif chance < 0.3:
            jump = history.jump()
            journey.run()
            assert differences(journey) == [], f"step {number} of HISTORY_SEED={SEED}, jump: {jump or 'none'}"
            assert journey.parked() == {}
    journey.run()
    before = journey.writes()
    journey.run()
    assert journey.writes() == before
    load_entity(journey.workspace, journey.workspace.project.get(PARENTS), full=True)
    assert differences(journey) == [], "what is landed says something else"
