"""How far is it? One bar per stage on a terminal; elsewhere the log lines of the pipeline say it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from legacy_sync.cli.shell import console
from legacy_sync.sync.report import Progress as ProgressCallback


class _Rows(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Rows so far, of how many, and how fast."""
        total = f" of {int(task.total):,}" if task.total is not None else ""
        speed = task.finished_speed or task.speed
        rate = f"  {speed:,.0f} rows/s" if speed else ""
        return Text(f"{int(task.completed):,}{total}{rate}")


class Bars:
    """Progress bars for the stages of several entities; silent where stderr is no terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            _Rows(),
            TimeElapsedColumn(),
            console=console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def of(self, entity: str) -> ProgressCallback:
        """What the pipeline of one entity calls."""

        def show(stage: str, done: int, total: int | None) -> None:
            if (entity, stage) not in self._tasks:
                self._tasks[entity, stage] = self._progress.add_task(f"{entity} {stage}", total=None)
            self._progress.update(self._tasks[entity, stage], completed=done, total=total)

        return show
