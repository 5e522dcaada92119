"""`legacy-sync demo`: what does the sync do, shown from an empty database to a proven result?

Every demo begins anew: databases, landing and Dagster's history of earlier demos in `.legacy_sync/` are dropped,
so that an interrupted demo leaves nothing to repair. It uses its own servers only, whatever the environment says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from legacy_sync.demo.dagster_home import environment_of, write_dagster_yaml
from legacy_sync.demo.imports import Imports
from legacy_sync.demo.proof import Claim, Mappings, fingerprint, last_run, list_runs, prove
from legacy_sync.demo.servers import Sample, hosted
from legacy_sync.demo.state import DemoFolder, Servers
from legacy_sync.demo.working_day import EDITS, Day, ask_admin, work_a_day
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings

_COUNTS = ("read", "inserted", "updated", "unchanged", "kept", "conflicts", "parked")

Runs = list[dict[str, Any]]


class Story:
    """What the person in front of the screen reads."""

    def __init__(self, out: Console) -> None:
        self.out = out

    def tell(self, text: str, style: str = "") -> None:
        """One line."""
        self.out.print(Text(text, style=style), soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step, and how long it took."""
        began = time.monotonic()
        self.tell(f"\n{title} …", "bold")
        yield
        self.tell(f"  {time.monotonic() - began:.1f} s", "dim")

    def show_runs(self, runs: Runs) -> None:
        """What each load did, as the ledger says."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("  entity")
        for name in _COUNTS:
            table.add_column(name, justify="right")
        for run in runs:
            table.add_row(f"  {run['entity']}", *(f"{run['counts'].get(name, 0):,}" for name in _COUNTS))
        self.out.print(table)

    def show_claims(self, claims: Sequence[Claim]) -> None:
        """Each claim, green or red."""
        for claim in claims:
            self.tell(f"  {'true ' if claim.holds else 'FALSE'} {claim.text}", "green" if claim.holds else "red")


def run_journey(out: Console, sample: Sample, *, keep: bool = False) -> bool:
    """Walks through the demo; True if everything it claims was found true by SQL."""
    folder = DemoFolder.here()
    story = Story(out)
    began = time.monotonic()
    story.tell(f"Everything happens in {folder.root}; each demo begins anew.")
    story.tell("\nPostgreSQL and a stand-in for the 4D server start …", "bold")
    with Imports(folder) as imports, hosted(folder, sample, fresh=True, keep=keep) as servers:
        rows = ask_admin(str(servers.api_url), "counters")["tables"]
        story.tell(f"  {time.monotonic() - began:.1f} s, 4D has {sum(rows.values()):,} rows in {len(rows)} tables,"
                   f" {len(servers.services)} settings lead to other systems", "dim")  # fmt: skip
        write_dagster_yaml(folder, servers)
        imports.use(environment_of(folder, servers, closed=True))
        with psycopg.connect(servers.erp_url, autocommit=True) as connection:
            mappings = load_project(read_settings(environment_of(folder, servers, closed=True))).mappings
            claims, runs = _walk(story, folder, servers, imports, connection, sample.seed, mappings)
            _summarise(story, connection, claims, runs, time.monotonic() - began)
        _say_next(story, servers, keep=keep)
    return all(claim.holds for claim in claims)


def _walk(
    story: Story,
    folder: DemoFolder,
    servers: Servers,
    imports: Imports,
    connection: psycopg.Connection,
    seed: int,
    mappings: Mappings,
) -> tuple[list[Claim], Runs]:
    """First import, a working day, second import, and a third one that has nothing to do."""
    assert servers.api_url is not None  # the demo always has its own
    with story.step("First import, through Dagster: the ERP is empty"):
        runs = _import(story, imports, connection, full=True)
    with story.step("A working day: people change rows in 4D and in the ERP"):
        day = work_a_day(folder, servers.api_url, connection, seed)
        _tell_day(story, day)
    with story.step("Second import: only what has changed"):
        runs += _import(story, imports, connection, full=False)
    before = fingerprint(connection, mappings)
    with story.step("Third import: every row once more, though nobody has changed anything"):
        again = _import(story, imports, connection, full=True)
    claims = prove(connection, servers.api_url, day, mappings)
    written = sum(run["counts"][name] for run in again for name in ("inserted", "updated", "adopted"))
    claims.append(
        Claim(
            "the third import read everything and wrote nothing",
            written == 0 and fingerprint(connection, mappings) == before,
        )
    )
    return claims, runs + again


def _import(story: Story, imports: Imports, connection: psycopg.Connection, *, full: bool) -> Runs:
    before = last_run(connection)
    imports.run(full=full)
    runs = list_runs(connection, before)
    story.show_runs(runs)
    return runs


def _tell_day(story: Story, day: Day) -> None:
    story.tell(f"  4D: {day.edited} rows edited, {len(day.arrived)} added or repaired")
    for edit, key, row in day.edits:
        sides = "both sides" if edit.legacy else "ERP"
        story.tell(f"  {sides}: {edit.story} (family {key[:8]}…, ERP row {row})")


def _summarise(
    story: Story, connection: psycopg.Connection, claims: Sequence[Claim], runs: Runs, seconds: float
) -> None:
    story.tell("\nChecked with SQL in both databases", "bold")
    story.show_claims(claims)
    story.tell("\nSummary", "bold")
    held = all(claim.holds for claim in claims)
    total = {name: sum(run["counts"].get(name, 0) for run in runs) for name in (*_COUNTS, "adopted", "replayed")}
    written = total["inserted"] + total["updated"] + total["adopted"]
    story.tell(f"  {total['read']:,} rows read in 3 imports, {written:,} written, {total['unchanged']:,} unchanged")
    lost = "nothing of that is lost" if held else "see above what is FALSE"
    story.tell(f"  {len(EDITS)} rows were edited in the ERP meanwhile: {lost}")
    story.tell(f"  {total['conflicts']:,} conflict waits for a person")
    story.tell(f"  {total['replayed']:,} parked rows came in later by themselves")
    parked = connection.execute(
        "select e.name, q.reason, count(*) from legacy_sync.quarantine q"
        " join legacy_sync.entity e on e.id = q.entity_id where q.status = 'open' group by 1, 2 order by 1, 3 desc"
    ).fetchall()
    for entity, reason, count in parked:
        story.tell(f"  {count:,} parked in {entity}: {reason.replace('_', ' ')}")
    story.tell(f"  {seconds:.0f} s in all")


def _say_next(story: Story, servers: Servers, *, keep: bool) -> None:
    story.tell("\nWhat to type next", "bold")
    if keep:
        story.tell(f"  PostgreSQL and 4D keep running ({servers.api_url}); `legacy-sync demo --stop` ends them")
    story.tell("  legacy-sync quarantine list      the parked rows, and why")
    story.tell("  legacy-sync conflicts list       what both sides changed; `conflicts resolve` decides")
    story.tell("  legacy-sync status               where every entity stands")
    if not keep:
        story.tell("  legacy-sync up                   the same servers with Dagster's UI and the runs above")
