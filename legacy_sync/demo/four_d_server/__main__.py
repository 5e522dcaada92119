"""How is the stand-in started by hand? `python -m legacy_sync.demo.four_d_server --port 8080`."""

from __future__ import annotations

import argparse
import threading
from dataclasses import asdict
from datetime import UTC, datetime

from legacy_sync.demo.four_d_server.server import FourDServer
from legacy_sync.demo.four_d_server.store import Row, Store
from legacy_sync.demo.four_d_server.wire import VERSIONS
from legacy_sync.demo.sample_data import build_store, change_some, wide_table


def main(arguments: list[str] | None = None) -> None:
    """Serve sample data until interrupted."""
    options = _parser().parse_args(arguments)
    today = datetime.now(UTC).date()
    if options.bench:
        store = wide_table(options.bench, options.seed, today)
    else:
        store = build_store(options.seed, options.families, options.variants, today)
    users = dict([options.user.split(":", 1)]) if options.user else {}
    server = FourDServer(
        store,
        options.port,
        host=options.host,
        licences=options.licences,
        login=options.login,
        users=users,
        version=options.version,
        actions={"change_some": change_some_as_json},
    )
    server.faults.add_spec(options.faults)
    with server:
        print(f"stand-in 4D server at {server.url}/rest, admin desk at {server.url}/__admin/help", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped", flush=True)


def change_some_as_json(store: Store, seed: int) -> Row:
    """The day's work for the admin desk."""
    return asdict(change_some(store, seed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m legacy_sync.demo.four_d_server", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one (default 8080)")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", type=int, default=1600)
    parser.add_argument("--variants", type=int, default=4300)
    parser.add_argument("--bench", type=int, default=0, metavar="ROWS", help="serve the table Bench instead")
    parser.add_argument("--licences", type=int, default=10)
    parser.add_argument("--login", choices=["open", "headers", "force"], default="open")
    parser.add_argument("--user", default="", metavar="NAME:PASSWORD", help="the one user who may log in")
    parser.add_argument("--version", choices=sorted(VERSIONS), default="v20")
    parser.add_argument("--faults", default="", metavar="SPEC", help="e.g. drop:rate=0.05,seed=3;slow:seconds=1")
    return parser


if __name__ == "__main__":
    main()
