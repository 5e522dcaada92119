"""How fast is a run? `make bench`, or `python -m legacy_sync_tests.bench --help`.

Every contender does the same work in the same session, round after round in changing order: a full table into an
empty target, then a day's changes (1 %) after a look at the cursor; each as a whole process, each checked in SQL.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync_tests.bench import bad_rows
from legacy_sync_tests.bench.contenders import DLT, FLOOR, FLOOR_TEXT, OURS, Contender, find_dlt, floor, ours, peer_dlt
from legacy_sync_tests.bench.measure import Ended
from legacy_sync_tests.bench.results import INCREMENTAL, INITIAL, UNCHANGED, Results, Sample
from legacy_sync_tests.bench.world import BenchFailed, World, running_postgres, running_server

_WARM_ROWS = 2_000


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 1 if a contender failed, brought wrong rows, or `--require` is not met."""
    options = _options(arguments)
    contenders = _contenders(options.only)
    results = Results(options.page_size, "", options.changed)
    with tempfile.TemporaryDirectory(prefix="legacy_sync_bench_") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as another user and has to get in
        with running_postgres(folder / "postgres") as postgres:
            try:
                _session(postgres, folder, contenders, options, results)
                if OURS in options.only:
                    print(bad_rows.measure(postgres, folder, options.rounds), flush=True)
            except BenchFailed as failed:
                print(failed, file=sys.stderr)
                return 1
    results.show()
    if options.json:
        results.save(options.json)
    unmet = results.unmet() if options.require else []
    for line in unmet:
        print(f"required and not met: {line}", file=sys.stderr)
    return 1 if unmet else 0


def _session(
    postgres: EmbeddedPostgres,
    folder: Path,
    contenders: list[Contender],
    options: argparse.Namespace,
    results: Results,
) -> None:
    unseen = Results(options.page_size, "")  # a small round that only compiles modules and fills the disk cache
    for rows, rounds, kept in [(_WARM_ROWS, 1, unseen), *((rows, options.rounds, results) for rows in options.rows)]:
        with running_server(rows, options.changed) as url:
            world = World(postgres, url, Path(tempfile.mkdtemp(dir=folder)), options.page_size, options.patience)
            results.postgres = world.postgres_version()
            for number in range(rounds):
                _round(world, contenders, number, kept)
                if kept is results:
                    print(f"{rows:,} rows, round {number + 1} of {rounds}: {kept.last_round()}", flush=True)


def _round(world: World, contenders: list[Contender], number: int, results: Results) -> None:
    turn = number % len(contenders)
    order = contenders[turn:] + contenders[:turn]

    def keep(contender: Contender, stage: str, ended: Ended) -> None:
        results.samples.append(Sample(truth["rows"], number, contender.name, stage, ended.cost, _detail(ended)))

    world.pass_quiet_days()
    truth = world.warm()
    for contender in order:
        world.prepare(contender)
        keep(contender, INITIAL, world.run(contender, truth))
    world.change()
    truth = world.warm()
    for contender in order:
        keep(contender, INCREMENTAL, world.run(contender, truth))
    for contender in order:
        if contender.name == OURS:
            keep(contender, UNCHANGED, world.run(contender, truth, ["--full"]))


def _detail(ended: Ended) -> object:
    try:
        return json.loads(ended.stdout)
    except ValueError:
        return None


def _contenders(wanted: list[str]) -> list[Contender]:
    chosen = []
    if FLOOR in wanted:
        chosen.append(floor(FLOOR, "binary"))
    if OURS in wanted:
        chosen.append(ours())
    if DLT in wanted:
        python = find_dlt()
        if python:
            chosen.append(peer_dlt(python))
        else:
            print("dlt is not measured: it is not installed (`make bench` without SLICE installs it)")
    if FLOOR_TEXT in wanted:
        chosen.append(floor(FLOOR_TEXT, "text"))
    return chosen


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m legacy_sync_tests.bench", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000], help="one size or several (default 200000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changed", type=int, default=0, help="rows that change between two runs (default 1 %%)")
    everybody = [FLOOR, OURS, DLT, FLOOR_TEXT]
    parser.add_argument("--only", choices=everybody, nargs="+", default=everybody, help="default: all of them")
    parser.add_argument("--page-size", type=int, default=1000, help="rows per request, for everybody (default 1000)")
    parser.add_argument("--patience", type=float, default=8, help="seconds to wait for an idle machine before each run")
    parser.add_argument("--slice", choices=["ci"], help="20,000 rows, one round, no dlt")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every single number")
    parser.add_argument("--require", action="store_true", help="fail below half the floor, dlt, 5 × dlt, above 600 MB")
    options = parser.parse_args(arguments)
    if options.slice == "ci":
        options.rows, options.rounds, options.patience = [20_000], 1, 0
        options.only = [FLOOR, OURS]
        print("the short bench leaves dlt out")
    return options


if __name__ == "__main__":
    sys.exit(main())
