"""How is it tried without 4D and without an ERP? `demo` walks through it, `up` lets you look around."""

from __future__ import annotations

from typing import Annotated

import typer

from legacy_sync.cli.shell import ABORTED, console

_SMALL = (40, 110)

SeedOption = Annotated[int, typer.Option(help="Another number makes other sample rows.")]
SmallOption = Annotated[bool, typer.Option("--small", help="40 families and 110 variants only.")]


def demo(
    seed: SeedOption = 1,
    small: SmallOption = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave PostgreSQL and the stand-in 4D running.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Only end what --keep left running.")] = False,
) -> None:
    """Walk from an empty database to a synchronised ERP, and prove it.

    Works in .legacy_sync under the current folder and begins anew each time. Needs no 4D and no PostgreSQL, and never
    touches servers that are set in the environment.
    """
    from legacy_sync.demo.servers import Sample, stop_kept
    from legacy_sync.demo.state import DemoFolder

    out = console()
    stopped = stop_kept(DemoFolder.here())
    if stop:
        out.print("the demo servers have ended" if stopped else "nothing is running that `demo --keep` has left")
        return
    from legacy_sync.demo.journey import run_journey

    sample = Sample(seed, *_SMALL) if small else Sample(seed)
    if not run_journey(out, sample, keep=keep):
        raise typer.Exit(ABORTED)


def up(
    port: Annotated[int, typer.Option(help="Where Dagster's UI listens; the next free one if it is taken.")] = 3000,
    seed: SeedOption = 1,
    small: SmallOption = False,
    with_sample_data: Annotated[
        bool, typer.Option("--with-sample-data", help="Load sample rows even into an ERP database of your own.")
    ] = False,
) -> None:
    """Run Dagster's UI and daemon until Ctrl-C, with demo servers for what is not set in the environment."""
    from legacy_sync.demo.servers import Sample
    from legacy_sync.demo.up import run_up

    sample = Sample(seed, *_SMALL) if small else Sample(seed)
    run_up(
        lambda line: console().print(line, markup=False, soft_wrap=True),
        port=port,
        sample=sample,
        with_sample_data=with_sample_data,
    )
