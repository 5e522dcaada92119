"""What does the sensor remember between two ticks? For each table what was seen, asked for and loaded; as JSON."""

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from legacy_sync.orchestration.outages import Outage, read_outage

BATCH_TAG = "legacy_sync/batch"
_VERSION = 2
_MOST_FAILURES = 5
_FIRST_PAUSE_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 1800.0
_GIVEN_UP_SECONDS = 6 * 3600.0
_LAUNCH_SECONDS = 120.0


@dataclass
class TableState:
    """One table. `seen` is what a look showed, as text; of a cursor: count and newest of the rows from `since` on.

    `done_*` is what was seen when the last successful run was asked for, `asked_*` the same for the run
    under way (`batch` is its tag, empty if there is none). Comparing with what was seen *before* a run
    means that a change during the run is seen as one. `asked_for` is the look that made the sensor ask.
    """

    done_seen: str | None = None
    done_since: str | None = None
    done_at: float = 0.0
    asked_seen: str | None = None
    asked_since: str | None = None
    asked_for: str | None = None
    asked_at: float = 0.0
    failed_seen: str | None = None
    batch: str = ""
    attempt: int = 0
    failures: int = 0
    not_before: float = 0.0
    probed_at: float = 0.0
    looked_stamp: int | None = None
    """where the source's counter stood when the table was looked at last and had no change"""
    due_at: float = 0.0
    """when a run was asked for last because it was due, unless it failed"""
    refusal: Outage = field(default_factory=Outage)

    @property
    def since(self) -> date | None:
        """From which cursor on to look, so that what is seen can be compared with what was."""
        return date.fromisoformat(self.done_since) if self.done_since else None

    def ask(self, batch: str, seen: str | None, since: date | None, because: str, now: float) -> None:
        """A run was asked for `because` of a look; `seen` is None if it does not cover all that is wanted."""
        self.batch, self.asked_seen, self.asked_at, self.asked_for = batch, seen, now, because
        self.asked_since = since.isoformat() if since else None
        self.attempt += 1

    def succeed(self) -> None:
        """The run ended well."""
        self.done_seen, self.done_since, self.done_at = self.asked_seen, self.asked_since, self.asked_at
        self.batch, self.failures, self.not_before, self.failed_seen = "", 0, 0.0, None

    def fail(self, now: float) -> None:
        """The run failed: the next one waits, longer each time."""
        self.batch, self.due_at, self.failed_seen = "", 0.0, self.asked_for
        self.failures += 1
        self.not_before = now + min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self.failures - 1, 16), _LONGEST_PAUSE_SECONDS)

    def may_try(self, seen: str, now: float) -> bool:
        """Whether a run may be asked for; after five failures at once only for a new change, else six hours later."""
        if self.failures >= _MOST_FAILURES:
            if seen == self.failed_seen and now < self.asked_at + _GIVEN_UP_SECONDS:
                return False
            self.failures = 0
        return now >= self.not_before


@dataclass
class Memory:
    """All tables, and whether an end was away."""

    tables: dict[str, TableState] = field(default_factory=dict)
    replays: dict[str, int] = field(default_factory=dict)
    """entity → newest run of its parents after which its waiting rows were tried again"""
    outage: Outage = field(default_factory=Outage)
    began: float = field(default_factory=time.time)
    """when this memory began; part of every run key, so that one that was reset repeats none"""

    def of(self, table: str) -> TableState:
        """The state of a table, new if it was never seen."""
        return self.tables.setdefault(table, TableState())

    def to_cursor(self) -> str:
        """The sensor's cursor."""
        return json.dumps({"version": _VERSION, **asdict(self)}, sort_keys=True)


def read_memory(cursor: str | None) -> Memory:
    """What the cursor says; a cursor of another version is forgotten, which costs one run per table."""
    try:
        data: dict[str, Any] = json.loads(cursor or "{}")
    except json.JSONDecodeError:
        return Memory()
    if not isinstance(data, dict) or data.pop("version", None) != _VERSION:
        return Memory()
    tables = {name: _read_state(state) for name, state in data.pop("tables").items()}
    return Memory(tables=tables, outage=read_outage(data.pop("outage")), **data)


def _read_state(data: dict[str, Any]) -> TableState:
    return TableState(refusal=read_outage(data.pop("refusal")), **data)


def settle(memory: Memory, instance: dg.DagsterInstance, loaded_at: dict[str, datetime | None], now: float) -> None:
    """Looks up the runs that were asked for. `loaded_at`: for each table when all its entities were last loaded."""
    for name, state in memory.tables.items():
        if not state.batch:
            continue
        records = instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: state.batch}), limit=1)
        if not records:
            if now - state.asked_at > _LAUNCH_SECONDS:
                state.fail(now)
            continue
        run, ended = records[0].dagster_run, records[0].end_time or now
        if run.status == DagsterRunStatus.SUCCESS:
            state.succeed()
        elif run.is_finished and not (run.tags.get("dagster/will_retry") == "true" and now - ended < _LAUNCH_SECONDS):
            loaded = loaded_at.get(name)
            # in a run over several tables another one may have failed
            if loaded and loaded >= records[0].create_timestamp.astimezone(UTC):
                state.succeed()
            else:
                state.fail(now)


def name_batch(*parts: object) -> str:
    """A short name for a batch of changes; run tags are indexed, so it must stay short."""
    return blake2b(json.dumps(parts, default=str).encode(), digest_size=10).hexdigest()
