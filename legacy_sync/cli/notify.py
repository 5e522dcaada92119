"""Is somebody to be told of something? `legacy-sync notify`, for cron and for trying out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from legacy_sync.cli.shell import (
    JsonOption,
    console,
    describe,
    exit_code,
    opened_settings,
    print_json,
    print_table,
    show_error,
)
from legacy_sync.errors import LegacySyncError, MappingInvalid

if TYPE_CHECKING:
    import psycopg

    from legacy_sync.notify.look import Desk, OpenErp, Report
    from legacy_sync.notify.situation import Seen
    from legacy_sync.settings import Settings


def notify(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be told, send and note nothing.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Send a sample through every channel, look at nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look once whether all is well, and tell the channels what they were not told yet."""
    with opened_settings() as settings:
        from legacy_sync.notify.channels import no_channel
        from legacy_sync.notify.look import look
        from legacy_sync.notify.situation import of_files

        now = datetime.now(UTC)
        desk, broken = _open_desk(settings)
        if not desk.channels and not dry_run:
            raise no_channel(settings.environment)
        if test:
            _test(desk, now, as_json=as_json)
            return
        with _dagster(settings, desk) as find_in_dagster:

            def find_others(connection: psycopg.Connection) -> Seen:
                return find_in_dagster(connection, now) + of_files(broken, now)

            report = look(desk, _erp_of(settings), find_others, now, dry_run=dry_run)
    _show(report, dry_run=dry_run, as_json=as_json)
    problems = [*report.problems, *([broken] if broken else [])]
    if problems:
        raise typer.Exit(max(exit_code(problem) for problem in problems))


def _open_desk(settings: Settings) -> tuple[Desk, LegacySyncError | None]:
    """What a look works with, and why the mapping files cannot be used, if so: then only names are known of them."""
    from legacy_sync.mapping.loader import load_notifications, load_project
    from legacy_sync.notify.look import Desk

    try:
        project = load_project(settings)
    except MappingInvalid as error:
        rules, entities = load_notifications(settings)
        return Desk(settings, rules, dict.fromkeys(entities)), error
    return Desk(settings, project.notifications, project.mappings, project.sources), None


def _erp_of(settings: Settings) -> OpenErp:
    """Opens the ERP database with an up-to-date ledger."""

    @contextmanager
    def erp() -> Iterator[psycopg.Connection]:
        from legacy_sync.erp.database import connect, translated
        from legacy_sync.ledger.schema import migrate
        from legacy_sync.settings import mask_url

        url = settings.require_erp_url()
        with connect(url) as connection, translated(f"ERP database {mask_url(url)}"):
            migrate(connection)
            yield connection

    return erp


@contextmanager
def _dagster(settings: Settings, desk: Desk) -> Iterator[Callable[[psycopg.Connection, datetime], Seen]]:
    """How to ask Dagster, if it has a home here; else nothing is known of it."""
    home = settings.dagster_home
    if home is None or not (home / "dagster.yaml").is_file():
        from legacy_sync.notify.situation import Seen

        yield lambda _connection, _now: Seen()
        return
    from legacy_sync.orchestration.standstill import opened_standstill

    with opened_standstill(home, settings, desk.rules.dagster) as find:
        yield find


def _test(desk: Desk, now: datetime, *, as_json: bool) -> None:
    """A sample through every channel; ends with 1 if one did not take it."""
    from legacy_sync.notify.look import send_samples

    results = send_samples(desk, now)
    failed = {name: error for name, error in results.items() if error}
    if as_json:
        print_json({"channels": {name: describe(e) if (e := results[name]) else None for name in results}})
    else:
        print_table("", ("channel", "result"), [(n, "failed" if e else "taken") for n, e in results.items()])
        for error in failed.values():
            show_error(error)
    if failed:
        raise typer.Exit(max(exit_code(error) for error in failed.values()))


def _show(report: Report, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({
            "dry_run": dry_run,
            "situations": report.situations,
            "messages": report.messages,
            "problems": [describe(problem) for problem in report.problems],
        })  # fmt: skip
        return
    rows = [(s.kind, s.headline, s.since, s.next_step) for s in report.situations] if dry_run else []
    print_table("", ("kind", "situation", "since", "next"), rows)
    for name, message in report.messages.items():
        head = f"{name} would be told" if dry_run else f"{name} was told"
        console().print(f"{head}: {message.subject}", markup=False, soft_wrap=True)
        if dry_run:
            console().print(message.body, markup=False, soft_wrap=True)
    for problem in report.problems:
        show_error(problem)
    if not report.messages:
        console().print(report.in_words(), markup=False)
