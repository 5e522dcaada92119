"""What must come out of a sync? The promises of DESIGN §3-§7 and docs/mappings.md over plain dictionaries.

Nothing here knows how the load does it: no SQL, one record after the other. Values are the texts that PostgreSQL
shows. `Model.run` says what a run makes of both sides; the test compares.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

COLUMNS = ("code", "a", "b", "c")
ERP_IN_THE_WAY = ("duplicate",)
"""reasons of parked rows that are tried again in every run"""

Values = dict[str, str | None]


@dataclass
class Record:
    """A record of 4D as it was read, or as it is there."""

    values: Values
    day: date
    modified: datetime


@dataclass
class Row:
    """A row of the ERP; `edited_at` is when a person saved it, if that can be seen since the sync wrote it."""

    values: Values
    active: bool
    id: int | None = None
    edited_at: datetime | None = None
    written: bool = False


@dataclass
class Binding:
    """Which row a record is, what both last agreed on by column, and what nobody has agreed on yet."""

    row: Row
    base: Values
    erp_base: Values
    at: int
    unagreed: set[str] = field(default_factory=set)
    missing: bool = False
    was_active: bool = False
    """before the soft delete"""

    @property
    def is_edited(self) -> bool:
        """Whether the row has another value than was last agreed on."""
        return bool(self.unagreed) or self.row.values != self.erp_base


@dataclass
class Decision:
    """What is meant with one record: by column `same`, `take`, `keep` or `wait`, and whether both sides changed it."""

    key: str
    bound: Binding
    at: int
    values: Values = field(default_factory=dict)
    cells: dict[str, tuple[str, bool]] = field(default_factory=dict)
    is_new: bool = False
    is_adopted: bool = False
    is_nothing: bool = False

    @property
    def final_code(self) -> str | None:
        """The code that the row gets; None if it keeps its own."""
        return self.values["code"] if self.is_new or self.cells.get("code", ("", False))[0] == "take" else None


@dataclass
class Waiting:
    """A parked record."""

    reason: str
    record: Record
    at: int
    version: int


@dataclass
class Fetch:
    """What one run read of one partition."""

    at: int
    is_full: bool
    records: dict[str, Record]
    is_loaded: bool = False


@dataclass
class Words:
    """What the mapping says."""

    policies: dict[str, str]
    adoption: str = "legacy_wins"
    deletes: str = "report"
    strategy: str = "timestamp"
    partitions: tuple[str, ...] = ("all",)


class Model:
    """Both sides, the landing and the ledger."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.version = 1
        self.legacy: dict[str, Record] = {}
        self.rows: list[Row] = []
        self.bound: dict[str, Binding] = {}
        self.parked: dict[str, Waiting] = {}
        self.without_row: set[str] = set()
        """records that changed since their row was deleted in the ERP: open conflicts of the whole row"""
        self.open: dict[tuple[str, str], tuple[str | None, str | None, str | None]] = {}
        self.decided: list[tuple[str, str, str | None, str | None, str | None, str]] = []
        self.landed: dict[str, list[Fetch]] = {p: [] for p in words.partitions}
        self.marks: dict[str, date | None] = {}
        self.loaded_by: dict[str, int] = {}
        self.at = 0
        self._parked_now: set[str] = set()

    def partition_of(self, key: str) -> str:
        """Where a record is read."""
        if len(self.words.partitions) == 1:
            return self.words.partitions[0]
        return self.words.partitions[int(key[0], 16) * len(self.words.partitions) // 16]

    # --- a run

    def fetch(self, *, full: bool = False, partitions: Iterable[str] | None = None) -> None:
        """Reads what may have changed."""
        self.at += 1
        for partition in partitions or self.words.partitions:
            mark = self.marks.get(partition)
            is_full = full or self.words.strategy == "fingerprint" or mark is None
            since = date.min if is_full else mark - timedelta(days=1)
            read = {
                key: Record(dict(record.values), record.day, record.modified)
                for key, record in sorted(self.legacy.items())
                if self.partition_of(key) == partition and record.day >= since
            }
            self.landed[partition].append(Fetch(self.at, is_full, read))

    def load(self, *, partitions: Iterable[str] | None = None, again: bool = False) -> None:
        """Brings what is landed into the ERP, or all of that `again`."""
        self.decided, self._parked_now = [], set()
        for row in self.rows:
            row.written = False
        loaded: dict[str, list[Fetch]] = {}
        for partition in partitions or self.words.partitions:
            loaded[partition] = self._load_partition(partition, again=again)
        self._replay(progress=False)
        if self.words.deletes != "ignore":
            found = self._settle_gone(loaded)
            if self.words.deletes == "delete":
                self._remove()
            if found:
                self._replay(progress=True)

    def _load_partition(self, partition: str, *, again: bool) -> list[Fetch]:
        since = [n for n, fetch in enumerate(self.landed[partition]) if fetch.is_full]
        fetches = self.landed[partition][since[-1] :] if since else []
        if not again and self.loaded_by.get(partition, self.version) == self.version:
            fetches = [fetch for fetch in fetches if not fetch.is_loaded]
        if not fetches:
            return []
        copies = {key: (record, fetch.at) for fetch in fetches for key, record in fetch.records.items()}
        self._take_in(copies)
        days = [record.day for fetch in fetches for record in fetch.records.values()]
        newest = max(days, default=None)
        old = None if fetches[0].is_full else self.marks.get(partition)
        self.marks[partition] = max(filter(None, (newest, old)), default=None)
        self.loaded_by[partition] = self.version
        for fetch in fetches:
            fetch.is_loaded = True
        return fetches

    def _replay(self, *, progress: bool) -> None:
        while True:
            tried = {
                key: (waiting.record, waiting.at)
                for key, waiting in self.parked.items()
                if (waiting.reason in ERP_IN_THE_WAY or waiting.version != self.version)
                and (progress or key not in self._parked_now)
            }
            if not tried:
                return
            self._take_in(tried)
            progress = any(key not in self.parked for key in tried)
            if not progress:
                return

    # --- rows

    def _take_in(self, copies: dict[str, tuple[Record, int]]) -> None:
        """Decides all these records at once."""
        copies = {k: c for k, c in copies.items() if not self._is_older(k, c[1])}
        if self.words.deletes == "delete":
            for key in [k for k in copies if k in self.bound and self.bound[k].missing]:
                if self.bound[key].row not in self.rows:
                    del self.bound[key]
        meant = {key: self._decide(key, record, copies) for key, (record, _) in copies.items()}
        stopped = self._duplicates({k: m for k, m in meant.items() if m is not None}, copies)
        for key, (record, at) in copies.items():
            decision = meant[key]
            if key in stopped:
                self._park(key, "duplicate", record, at)
                continue
            self.without_row.discard(key)
            if decision is None:
                self.without_row.add(key)
                self._forget_open(key, set())
            else:
                self._carry_out(decision)
            self.parked.pop(key, None)
            self._parked_now.discard(key)

    def _is_older(self, key: str, at: int) -> bool:
        known = [self.bound[key].at] if key in self.bound else []
        known += [self.parked[key].at] if key in self.parked else []
        return any(at < other for other in known)

    def _park(self, key: str, reason: str, record: Record, at: int) -> None:
        self.parked[key] = Waiting(reason, record, at, self.version)
        self._parked_now.add(key)

    def _carry_out(self, decision: Decision) -> None:
        key, bound = decision.key, decision.bound
        waiting = {column for column, (outcome, _) in decision.cells.items() if outcome == "wait"}
        self._forget_open(key, waiting)
        if decision.is_nothing:
            return
        if decision.is_new:
            self.rows.append(bound.row)
            bound.row.written = True
        if decision.is_adopted:
            bound.row.edited_at = None  # perhaps the time of an older import
            former = [k for k, b in self.bound.items() if b.row is bound.row]
            self.bound = {k: b for k, b in self.bound.items() if k not in former}
            for other in former:
                self._forget_open(other, set())
        self.bound[key] = bound
        for column, (outcome, is_conflict) in decision.cells.items():
            self._carry_out_cell(decision, column, outcome, is_conflict=is_conflict)
        if bound.missing:
            bound.missing = False
            if self.words.deletes == "set" and bound.was_active and not bound.row.active:
                bound.row.active, bound.row.written, bound.row.edited_at = True, True, None
        bound.at = decision.at

    def _forget_open(self, key: str, but: set[str]) -> None:
        self.open = {place: v for place, v in self.open.items() if place[0] != key or place[1] in but}

    def _carry_out_cell(self, decision: Decision, column: str, outcome: str, *, is_conflict: bool) -> None:
        bound, legacy = decision.bound, decision.values[column]
        erp, base = bound.row.values[column], bound.base[column]
        if outcome == "wait":
            self.open[decision.key, column] = (None if column in bound.unagreed else base, legacy, erp)
            return
        if is_conflict:
            winner = "legacy" if outcome == "take" else "erp"
            self.decided.append((decision.key, column, base, legacy, erp, winner))
        bound.base[column] = legacy
        if outcome == "take":
            bound.row.values[column] = legacy
            bound.row.written, bound.row.edited_at = True, None
        if outcome != "keep":
            bound.erp_base[column] = legacy
            bound.unagreed.discard(column)

    def _decide(self, key: str, record: Record, copies: dict[str, tuple[Record, int]]) -> Decision | None:
        """What becomes of a record if nothing stands in the way; None: its row was deleted in the ERP."""
        bound = self.bound.get(key)
        at = copies[key][1]
        if bound is None:
            return self._decide_new(key, record, at, copies)
        if bound.row not in self.rows:
            is_changed = record.values != bound.base or bound.unagreed  # or was never agreed on
            return None if is_changed else Decision(key, bound, at, is_nothing=True)
        cells = {column: self._decide_cell(bound, column, record) for column in COLUMNS}
        return Decision(key, bound, at, dict(record.values), cells)

    def _decide_cell(self, bound: Binding, column: str, record: Record) -> tuple[str, bool]:
        """`same`, `take`, `keep` or `wait`, and whether both sides changed the value."""
        legacy, erp = record.values[column], bound.row.values[column]
        if legacy == erp:
            return "same", False
        if column in bound.unagreed:
            return "wait", False
        if legacy == bound.base[column]:
            return "keep", False
        if erp == bound.erp_base[column]:
            return "take", False
        match self.words.policies[column]:
            case "legacy_wins":
                return "take", True
            case "erp_wins":
                return "keep", True
            case "newest_wins" if bound.row.edited_at is not None:
                return ("take" if record.modified >= bound.row.edited_at else "keep"), True
        return "wait", True

    def _decide_new(self, key: str, record: Record, at: int, copies: dict[str, tuple[Record, int]]) -> Decision:
        living = [id(b.row) for k, b in self.bound.items() if not b.missing or k in copies]
        there = [r for r in self.rows if r.values["code"] == record.values["code"] and id(r) not in living]
        rivals = [
            k for k, (r, _) in copies.items() if k not in self.bound and r.values["code"] == record.values["code"]
        ]
        first = min(rivals, key=lambda k: (copies[k][1], k))
        if not there or first != key:
            bound = Binding(Row(dict(record.values), True), dict(record.values), dict(record.values), at)
            return Decision(key, bound, at, dict(record.values), is_new=True)
        bound = Binding(there[0], dict(record.values), dict(record.values), at)
        outcome = {"legacy_wins": "take", "erp_wins": "keep", "manual": "wait"}[self.words.adoption]
        differing = {column for column in COLUMNS if there[0].values[column] != record.values[column]}
        bound.unagreed = differing if outcome == "wait" else set()
        cells = {column: (outcome if column in differing else "same", False) for column in COLUMNS}
        return Decision(key, bound, at, dict(record.values), cells, is_adopted=True)

    def _duplicates(self, meant: dict[str, Decision], copies: dict[str, tuple[Record, int]]) -> set[str]:
        """Who would make a code that is there twice: the later of two, and whoever wants that of a row that stays."""
        stopped: set[str] = set()
        while True:
            going = {k: d for k, d in meant.items() if k not in stopped and d.final_code is not None}
            moving = {id(d.bound.row) for d in going.values()}
            taken = {r.values["code"] for r in self.rows if id(r) not in moving}
            more = set()
            for key in sorted(going, key=lambda k: (going[k].is_new, copies[k][1], k)):
                if going[key].final_code in taken:
                    more.add(key)
                taken.add(going[key].final_code)
            if not more:
                return stopped
            stopped |= more

    # --- records that are gone

    def _settle_gone(self, loaded: dict[str, list[Fetch]]) -> bool:
        if set(loaded) != set(self.words.partitions) or not all(f and f[0].is_full for f in loaded.values()):
            return False
        if len({fetches[0].at for fetches in loaded.values()}) > 1:
            return False
        at = max(fetch.at for fetches in loaded.values() for fetch in fetches)
        there = {key for fetches in loaded.values() for fetch in fetches for key in fetch.records}
        gone = [k for k, b in self.bound.items() if k not in there and not b.missing and b.at <= at]
        for key in gone:
            bound = self.bound[key]
            bound.missing, bound.at = True, max(bound.at, at)
            bound.row.edited_at = None  # that was before the record was gone
            self._forget_open(key, set())
            self.without_row.discard(key)
            if self.words.deletes == "set" and bound.row in self.rows:
                bound.was_active = bound.row.active
                if bound.was_active:
                    bound.row.active, bound.row.written, bound.row.edited_at = False, True, None
        for key in [k for k, w in self.parked.items() if k not in there and w.at <= at]:
            del self.parked[key]
        return bool(gone)

    def _remove(self) -> None:
        for key, bound in self.bound.items():
            if bound.missing and bound.row in self.rows:
                if not bound.is_edited:
                    self.rows.remove(bound.row)
                self._forget_open(key, set())  # of an edited row it is all or nothing now
