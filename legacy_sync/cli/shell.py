"""What do all commands share? Options, tables or JSON, errors and exit codes.

Results go to stdout, everything else (log lines, progress, errors) to stderr.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from legacy_sync.errors import (
    ChoiceUnusable,
    EntityUnknown,
    LegacySyncError,
    MappingInvalid,
    ParkRow,
    Problem,
    SettingsInvalid,
)

if TYPE_CHECKING:
    from rich.console import Console

    from legacy_sync.mapping.loader import Project
    from legacy_sync.settings import Settings
    from legacy_sync.sync.workspace import Workspace

ABORTED = 1
BAD_USAGE = 2
PARKED = 3
INTERRUPTED = 130
_PIPE_WIDTH = 200  # a pipe has no width; rows should not be broken there


# --- options that several commands have ----------------------------------------------------------


def _remember_json(context: typer.Context, wanted: bool) -> bool:
    context.meta["legacy_sync.json"] = wanted
    return wanted


EntitiesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ENTITY]...", help="Target tables, all if none is named.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", callback=_remember_json, help="One JSON document on stdout, for programs.")
]


# --- errors and exit codes -----------------------------------------------------------------------


class CommandGroup(TyperGroup):
    """The one place where our errors become text and exit codes."""

    def invoke(self, ctx: Any) -> Any:  # typer brings its own make of click's Context from 0.20 on
        """Run the command; our errors end it with their text, others with a traceback."""
        with _terminated_as_interrupt():
            try:
                return super().invoke(ctx)
            except LegacySyncError as error:
                show_error(error)
                if ctx.meta.get("legacy_sync.json"):
                    print_json({"error": describe(error)})
                raise typer.Exit(exit_code(error)) from error
            except KeyboardInterrupt as stop:
                console(stderr=True).print("interrupted: nothing half-written stays; the same command goes on")
                _leave_if_others_are_busy()
                raise typer.Exit(INTERRUPTED) from stop


def _leave_if_others_are_busy() -> None:
    """Ends the process without waiting for threads that are still asking a server; what they did is rolled back."""
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if others:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a command as cleanly as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code(error: LegacySyncError) -> int:
    """2 for what has to be corrected in the call or the configuration, else 1."""
    wrong = isinstance(error, SettingsInvalid | MappingInvalid | EntityUnknown | ChoiceUnusable | ParkRow)
    return BAD_USAGE if wrong else ABORTED


def describe(error: LegacySyncError) -> dict[str, Any]:
    """An error in plain types, for JSON."""
    return {"kind": type(error).__name__, "problems": [asdict(problem) for problem in problems_of(error)]}


def problems_of(error: LegacySyncError) -> tuple[Problem, ...]:
    """Every problem an error carries; most carry one."""
    if isinstance(error, MappingInvalid):
        return error.problems
    return (Problem(error.what, error.where, error.next_step),)


def show_error(error: LegacySyncError) -> None:
    """What, where, next; the fact in red."""
    show_problems(problems_of(error))


def show_problems(problems: Iterable[Problem]) -> None:
    """Each problem as what, where, next, on stderr."""
    from rich.text import Text

    err = console(stderr=True)
    for problem in problems:
        err.print(Text(problem.what, style="red"), soft_wrap=True)
        err.print(Text(f"  where: {problem.where}\n  next:  {problem.next_step}"), soft_wrap=True)


# --- output --------------------------------------------------------------------------------------


def console(*, stderr: bool = False) -> Console:
    """Where text goes; made anew each time, so that a redirected stream is honoured."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, emoji=False)


def print_json(document: Any) -> None:
    """The one JSON document of a command."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A title and a table; numbers to the right, None as a dash, times in the zone of this machine."""
    from rich.table import Table
    from rich.text import Text

    found = list(rows)
    if title:
        console().print(Text(title, style="bold"), soft_wrap=True)
    if not found:
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for number, name in enumerate(columns):
        is_number = any(isinstance(row[number], int | float) for row in found)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in found:
        table.add_row(*(Text(_shown(value)) for value in row))
    console().print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def incomplete_links(rates: Mapping[str, float]) -> dict[str, str]:
    """References of which not every row found its parent, worst first: column and share as text."""
    incomplete = sorted((rate, column) for column, rate in rates.items() if rate < 1)
    return {column: f"{math.floor(rate * 1000) / 10:.1f} %" for rate, column in incomplete}


def print_next(lines: Iterable[str]) -> None:
    """What to type next."""
    for line in lines:
        console().print(f"next: {line}", markup=False, soft_wrap=True)


def set_up_logging(verbose: bool) -> None:
    """Log lines on stderr; on a terminal the progress bars replace the ordinary ones."""
    if sys.stderr.isatty():
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(console=console(stderr=True), show_path=False, show_time=False)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("legacy_sync")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose or not sys.stderr.isatty() else logging.WARNING)
    logger.propagate = False


# --- what commands work on -----------------------------------------------------------------------


@contextmanager
def opened_settings() -> Iterator[Settings]:
    """The settings in force; a demo in the current folder stands in for servers that are not set."""
    from legacy_sync.demo.state import demo_environment
    from legacy_sync.settings import read_settings

    with demo_environment() as (environ, note):
        if note:
            console(stderr=True).print(note, markup=False, style="dim", soft_wrap=True)
        yield read_settings(environ)


@contextmanager
def opened_workspace() -> Iterator[tuple[Workspace, Project]]:
    """Settings, mappings and edges; sessions are given back at the end."""
    from legacy_sync.mapping.loader import load_project
    from legacy_sync.sources.under_way import cut_off_by_signals
    from legacy_sync.sync.lean import spare_pandas
    from legacy_sync.sync.workspace import open_workspace

    spare_pandas()
    with opened_settings() as settings:
        project = load_project(settings)
        with closing(open_workspace(settings, project)) as workspace, cut_off_by_signals():
            yield workspace, project
