"""How far is it? Bars for what is running on a terminal; elsewhere the log lines of the pipeline say it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from legacy_sync.cli.shell import console
from legacy_sync.sync.report import Progress as ProgressCallback
from legacy_sync.sync.turns import Unit


class _Rows(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Rows so far, of how many, and how fast; entities have no speed."""
        total = f" of {int(task.total):,}" if task.total is not None else ""
        speed = task.finished_speed or task.speed
        rate = f"  {speed:,.0f} rows/s" if speed and not task.fields.get("is_whole") else ""
        return Text(f"{int(task.completed):,}{total}{rate}")


class Bars:
    """Progress bars for the stages of what is running, and one for all; silent where stderr is no terminal.

    Safe to call from several threads.
    """

    def __init__(self, units: int = 1) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            _Rows(),
            TimeElapsedColumn(),
            console=console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._whole = self._progress.add_task("all", total=units, is_whole=True) if units > 1 else None
        self._is_stopped = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stop(self) -> None:
        """Whoever reports progress from now on is interrupted there."""
        self._is_stopped = True

    @contextmanager
    def of(self, unit: Unit) -> Iterator[ProgressCallback]:
        """What the pipeline of one unit calls; its bars are there as long as it runs."""
        word = unit[0].unit
        tasks: dict[str, TaskID] = {}
        try:
            yield self.show(word.name if word else unit[0].entity, tasks)
        finally:
            for task in tasks.values():
                self._progress.remove_task(task)
            if self._whole is not None:
                self._progress.advance(self._whole)

    def show(self, label: str, tasks: dict[str, TaskID] | None = None) -> ProgressCallback:
        """A callback that has a bar for each stage; they stay unless somebody removes the `tasks`."""
        bars = {} if tasks is None else tasks

        def show(stage: str, done: int, total: int | None) -> None:
            if self._is_stopped:
                raise KeyboardInterrupt
            with self._lock:
                if stage not in bars:
                    bars[stage] = self._progress.add_task(f"{label} {stage}", total=None)
            self._progress.update(bars[stage], completed=done, total=total)

        return show
