"""Which numbers come out? Medians with their range, ratios to the floor and to dlt, and what `--require` demands.

Ratios above 1 are faster. "by CPU" compares the CPU seconds of client and PostgreSQL together, which a busy
machine disturbs far less than the clock on the wall.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from legacy_sync_tests.bench.contenders import DLT, FLOOR, OURS
from legacy_sync_tests.bench.measure import Cost

INITIAL, INCREMENTAL, UNCHANGED = "initial", "incremental", "unchanged"
_PEAK_MB = 600
_Row = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One timed run; `detail` is what the contender said about itself."""

    rows: int
    round: int
    contender: str
    stage: str
    cost: Cost
    detail: Any = None


@dataclass
class Results:
    """All samples of a session."""

    page_size: int
    postgres: str
    changed: int = 0
    samples: list[Sample] = field(default_factory=list)

    def costs(self, rows: int, contender: str, stage: str) -> list[Cost]:
        """The costs of all rounds."""
        found = [s for s in self.samples if (s.rows, s.contender, s.stage) == (rows, contender, stage)]
        return [s.cost for s in found]

    def wall(self, rows: int, contender: str, stage: str) -> float | None:
        """The median, or None if that was not measured."""
        costs = self.costs(rows, contender, stage)
        return median(c.wall for c in costs) if costs else None

    def names(self, rows: int) -> list[str]:
        """The contenders in the order of their first run."""
        return list(dict.fromkeys(s.contender for s in self.samples if s.rows == rows))

    def sizes(self) -> list[int]:
        """The sizes measured."""
        return list(dict.fromkeys(s.rows for s in self.samples))

    def last_round(self) -> str:
        """The seconds of the latest round, for whoever watches."""
        last = self.samples[-1]
        found = [s for s in self.samples if (s.rows, s.round) == (last.rows, last.round)]
        return ", ".join(f"{s.contender} {s.stage} {s.cost.wall:.2f} s" for s in found)

    def save(self, path: Path) -> None:
        """Everything, as JSON."""
        about = {
            "python": platform.python_version(),
            "postgres": self.postgres,
            "cpus": os.cpu_count(),
            "page_size": self.page_size,
            "unmet": self.unmet(),
        }
        path.write_text(json.dumps(about | {"samples": [asdict(s) for s in self.samples]}, indent=1), "utf-8")

    def unmet(self) -> list[str]:
        """What `--require` demands and these numbers do not show."""
        wrong = []
        for rows in self.sizes():
            speed = self._ratio(rows, INITIAL, FLOOR)
            if speed is not None and speed < 0.5:
                wrong.append(f"{rows:,} rows: {speed:.2f} of the floor's speed, less than 0.5")
            faster = self._ratio(rows, INITIAL, DLT)
            if faster is None or faster <= 1:
                wrong.append(f"{rows:,} rows: {_times(faster)} dlt's speed, not more than 1")
            sooner = self._ratio(rows, INCREMENTAL, DLT)
            if sooner is None or sooner < 5:
                wrong.append(f"{rows:,} rows, 1 % changed: {_times(sooner)} dlt's speed, less than 5")
            peak = max((s.cost.peak_mb for s in self.samples if (s.rows, s.contender) == (rows, OURS)), default=0)
            if peak >= _PEAK_MB:
                wrong.append(f"{rows:,} rows: {peak:.0f} MB at the peak, not below {_PEAK_MB}")
        return wrong

    def _ratio(self, rows: int, stage: str, other: str) -> float | None:
        """How many times as fast as the other one we are, both by their medians."""
        mine, theirs = self.wall(rows, OURS, stage), self.wall(rows, other, stage)
        return theirs / mine if mine and theirs else None

    def show(self) -> None:
        """The tables, and how an incremental run grows with the table it falls on."""
        for rows in self.sizes():
            print_table(f"{rows:,} rows × 20 columns into an empty table", _HEADS, self._lines(rows, INITIAL, rows))
            changed = self.changed or rows // 100
            title = f"{changed:,} of {rows:,} rows changed, incremental run"
            print_table(title, _HEADS, self._lines(rows, INCREMENTAL, changed))
            again = self._lines(rows, UNCHANGED, rows)
            if again:
                print_table(f"{rows:,} rows read again in full, none changed", _HEADS, again)
        sizes = self.sizes()
        walls = [self.wall(rows, OURS, INCREMENTAL) for rows in sizes]
        for rows, wall in zip(sizes[1:], walls[1:], strict=True):
            if wall and walls[0]:
                changed = "as many rows" if self.changed else f"{rows / sizes[0]:.1f} × the rows"
                more = f"{changed} changed of {rows / sizes[0]:.1f} × the rows"
                print(f"incremental run at {rows:,}: {more}, {wall / walls[0]:.2f} × the time at {sizes[0]:,}")

    def _lines(self, rows: int, stage: str, work: int) -> list[_Row]:
        floor, dlt = (self.costs(rows, name, stage) for name in (FLOOR, DLT))
        return [
            _line(name, costs, work, floor, dlt)
            for name in self.names(rows)
            if (costs := self.costs(rows, name, stage))
        ]


_HEADS = (
    "",
    "s (min-max)",
    "rows/s (min-max)",
    "× floor",
    "by CPU",
    "× dlt",
    "by CPU",
    "CPU s",
    "PG CPU s",
    "others",
    "peak MB",
)


def _line(name: str, costs: list[Cost], work: int, floor: list[Cost], dlt: list[Cost]) -> _Row:
    walls = [c.wall for c in costs]
    return (
        name,
        f"{median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f})",
        f"{work / median(walls):,.0f} ({work / max(walls):,.0f}-{work / min(walls):,.0f})",
        *(_faster(costs, others, of) for others in (floor, dlt) for of in (_wall, _all_cpu)),
        f"{median(c.cpu for c in costs):.2f}",
        f"{median(c.postgres_cpu for c in costs):.2f}",
        f"{median(c.others_cpu for c in costs):.1f}",
        f"{max(c.peak_mb for c in costs):.0f}",
    )


def _wall(cost: Cost) -> float:
    return cost.wall


def _all_cpu(cost: Cost) -> float:
    return cost.cpu + cost.postgres_cpu


def _faster(mine: list[Cost], theirs: list[Cost], of: Callable[[Cost], float]) -> str:
    return _times(median(map(of, theirs)) / median(map(of, mine)) if theirs else None)


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def print_table(title: str, heads: _Row, rows: Iterable[_Row]) -> None:
    """With rich if it is there, in plain columns otherwise."""
    lines = list(rows)
    if find_spec("rich"):
        from rich.console import Console
        from rich.table import Table

        table = Table(*heads, title=title, title_justify="left")
        for line in lines:
            table.add_row(*line)
        Console(width=140).print(table)
        return
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    print(f"\n{title}")
    for line in (heads, *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
