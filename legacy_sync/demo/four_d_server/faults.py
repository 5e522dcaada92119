"""How can the server be told to misbehave, for whom, how often, and repeatably?"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

FAULTS = {
    "drop": "the connection is cut in the middle of the body",
    "truncated": "a complete HTTP answer whose JSON stops half way",
    "html": "an HTML page with status 200",
    "ok": '`{"ok":true}` instead of data, status 200',
    "no_entities": "an envelope without __ENTITIES",
    "error_array": "status 200 and __ERROR as an array",
    "error_string": "status 200 and __ERROR as a text",
    "error_plural": "status 200 and the key __ERRORS",
    "error_errors": "status 200 and the key errors, items with `code`",
    "error_success": 'status 200 and {"success":false,"__ERROR":[...]}',
    "error_status_text": 'status 200 and {"statusText":...}',
    "error_in_entity": "a normal page in which one entity carries an __ERROR",
    "http_500": "status 500 with an __ERROR body",
    "http_502": "status 502 with HTML",
    "http_503": "status 503 with HTML",
    "http_504": "status 504 with HTML",
    "slow": "the answer comes after `seconds` (1)",
    "session_expired": "the session of the request ends before it is served",
    "session_limit": "402/1823, no licence free",
    "login_refused": "401/1822",
    "set_expired": "every entity set is forgotten before the request is served",
    "ignore_filter": "the filter is ignored: 200 and all rows",
    "repeat_page": "the page before is answered once more",
    "short_page": "the last `missing` (1) rows of the page are left out, __COUNT stays",
    "count_lies": "__COUNT is off by `delta` (1)",
    "churn": "one row of the table is changed, inserted and deleted before the request is served",
    "null_column": "the values of `attribute` are null, as when a privilege is missing",
    "hole": "the first row of the page was deleted just now",
    "empty": "no rows and __COUNT 0",
}

_ANSWER_TO_EVERYTHING = frozenset({"slow", "session_expired", "session_limit", "login_refused"})


@dataclass
class Fault:
    """One thing to do wrong: for data requests of `table` (None: every table), with a probability of `rate`.

    The first `after` requests it could hit are spared, then it strikes `times` times (None: until cleared).
    `everywhere` lets it hit the catalog and $info too (None: if it is about sessions or slowness).
    """

    name: str
    table: str | None = None
    times: int | None = None
    rate: float = 1.0
    seed: int = 0
    after: int = 0
    everywhere: bool | None = None
    options: dict[str, object] = field(default_factory=dict)
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f'no fault is called "{self.name}"; there are {", ".join(FAULTS)}')
        if self.everywhere is None:
            self.everywhere = self.name in _ANSWER_TO_EVERYTHING
        self._dice = random.Random(self.seed)

    def strikes(self, table: str | None) -> bool:
        """Whether it hits this request; None is a request that is not for data. Counts down."""
        if self.times == 0 or (table is None and not self.everywhere) or self.table not in (None, table):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.rate < 1 and self._dice.random() >= self.rate:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def number(self, option: str, default: float) -> float:
        """An option as a number."""
        return float(str(self.options.get(option, default)))


@dataclass
class Faults:
    """The faults switched on at present; safe to change while requests are served."""

    active: list[Fault] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(
        self,
        name: str,
        *,
        table: str | None = None,
        times: int | None = None,
        rate: float = 1.0,
        seed: int = 0,
        after: int = 0,
        everywhere: bool | None = None,
        **options: object,
    ) -> Fault:
        """Switch a fault on; ValueError for an unknown name."""
        fault = Fault(name, table, times, rate, seed, after, everywhere, options)
        with self._lock:
            self.active.append(fault)
        return fault

    def add_spec(self, spec: str) -> None:
        """Switch on what `name:option=value,option=value;name…` says, the form of the command line."""
        for fault in parse_spec(spec):
            with self._lock:
                self.active.append(fault)

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self.active.clear()

    def strike(self, table: str | None, header: str) -> Struck:
        """The faults that hit a request to `table` (None: catalog, $info), those of its own header included."""
        with self._lock:
            hit = [fault for fault in self.active if fault.strikes(table)]
            hit += parse_spec(header)
            self.fired.update(fault.name for fault in hit)
        return Struck({fault.name: fault for fault in hit})


@dataclass(frozen=True)
class Struck:
    """The faults that hit one request."""

    by_name: dict[str, Fault] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def number(self, name: str, option: str, default: float) -> float:
        """An option of a fault that struck, 0 if it did not."""
        fault = self.by_name.get(name)
        return 0 if fault is None else fault.number(option, default)

    def text(self, name: str, option: str) -> str:
        """An option of a fault that struck, empty if it did not."""
        fault = self.by_name.get(name)
        return "" if fault is None else str(fault.options.get(option, ""))


def parse_spec(spec: str) -> list[Fault]:
    """`drop:rate=0.05,seed=3;slow:seconds=2,table=Kunden` as faults."""
    return [_parse_one(part.strip()) for part in spec.split(";") if part.strip()]


def _parse_one(part: str) -> Fault:
    name, _, rest = part.partition(":")
    options: dict[str, object] = {k: v for k, _, v in (pair.partition("=") for pair in rest.split(",") if pair)}
    return fault_from(name, options)


def fault_from(name: str, options: dict[str, object]) -> Fault:
    """A fault from loosely typed options, as they come from a header, the command line or JSON."""
    rest = dict(options)
    table = rest.pop("table", None)
    times = rest.pop("times", None)
    everywhere = rest.pop("everywhere", None)
    return Fault(
        name,
        table=None if table is None else str(table),
        times=None if times is None else int(str(times)),
        rate=float(str(rest.pop("rate", 1.0))),
        seed=int(str(rest.pop("seed", 0))),
        after=int(str(rest.pop("after", 0))),
        everywhere=None if everywhere is None else str(everywhere).lower() == "true",
        options=rest,
    )
