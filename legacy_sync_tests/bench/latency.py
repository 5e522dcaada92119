"""How long until a change in 4D is in the ERP? `make latency`, with the sensor as it comes and everything running.

A record is saved at a moment the sensor knows nothing of; then the ERP is looked at until the value is there. Daemon,
web server and code server are those of `legacy-sync up`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from ruamel.yaml import YAML

from legacy_sync.demo.erp_tables import create_erp_tables
from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.demo.sample_data import FAMILY_TABLE
from legacy_sync.settings import PROJECT_ROOT

ENTITY, TABLE = "products_parentproduct", "Artikel_Familie"
SENSOR = {
    "repositoryLocationName": "legacy_sync.definitions",
    "repositoryName": "__repository__",
    "sensorName": "legacy_changes",
}
WAYS = {
    "global_stamp": {"strategy": "global_stamp"},
    "timestamp": {"strategy": "timestamp", "lookback": "1d"},
}
_PATIENCE = 300.0


def main(arguments: list[str] | None = None) -> int:
    """Prints a line for each way of finding changes."""
    parser = argparse.ArgumentParser(prog="python -m legacy_sync_tests.bench.latency", description=__doc__)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--way", choices=list(WAYS), nargs="+", default=["global_stamp"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    for way in options.way:
        with tempfile.TemporaryDirectory(prefix="legacy_sync_latency_") as name:
            folder = Path(name)
            folder.chmod(0o755)  # as root, PostgreSQL runs as another user and has to get in
            seconds = _measure(folder, way, options.changes, random.Random(options.seed))
        print(
            f"{way}, {len(seconds)} changes, from saved in 4D to committed in the ERP: {_spread(seconds)}", flush=True
        )
    return 0


def _measure(folder: Path, way: str, changes: int, chance: random.Random) -> list[float]:
    store = Store()
    store.add_table(FAMILY_TABLE)
    if way == "global_stamp":
        store.enable_tracking(TABLE)
    keys = [store.insert(TABLE, {"Nummer": n, "Bezeichnung": f"Familie {n}"}) for n in range(1, 101)]
    _write_mapping(folder / "mappings", way)
    with (
        EmbeddedPostgres(folder / "postgres") as postgres,
        FourDServer(store) as server,
        psycopg.connect(erp_url := postgres.url("postgres"), autocommit=True) as connection,
    ):
        create_erp_tables(connection)
        with _running(folder, server.url, erp_url) as url:
            _ask(url, "mutation($s: SensorSelector!) {startSensor(sensorSelector: $s) {__typename}}", s=SENSOR)
            _wait_for(connection, len(keys), "true")
            return [_one(connection, store, keys, number, chance) for number in range(changes)]


def _one(connection: psycopg.Connection, store: Store, keys: list[str], number: int, chance: random.Random) -> float:
    if number:
        store.clock.advance(days=3)  # by the day alone, a second change on one day shows only later
    time.sleep(chance.uniform(0, 30))
    name = f"Name {number}"
    began = time.monotonic()
    store.update(TABLE, chance.choice(keys), {"Bezeichnung": name})
    _wait_for(connection, 1, "name = %s", name)
    return time.monotonic() - began


def _wait_for(connection: psycopg.Connection, rows: int, condition: str, *values: str) -> None:
    began = time.monotonic()
    while connection.execute(f"select count(*) from {ENTITY} where {condition}", values).fetchone() != (rows,):  # type: ignore[arg-type]
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError(f"the change did not arrive within {_PATIENCE:.0f} s")
        time.sleep(0.05)


def _write_mapping(folder: Path, way: str) -> None:
    (folder / "environments").mkdir(parents=True)
    said = YAML(typ="safe").load(PROJECT_ROOT / "mappings" / f"{ENTITY}.yaml")
    said |= {"partitions": {"type": "none"}, "change_detection": WAYS[way]}
    said["deletes"] = {"policy": "report"}
    said.pop("schedule", None)
    (folder / f"{ENTITY}.json").write_text(json.dumps(said, default=str))
    (folder / "environments" / "dev.json").write_text("{}")


@contextmanager
def _running(folder: Path, api_url: str, erp_url: str) -> Iterator[str]:
    """`legacy-sync up` in this folder; nothing of it is left afterwards."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("LEGACY_", "ERP_", "DAGSTER_"))}
    environment |= {
        "LEGACY_API_URL": api_url,
        "ERP_DATABASE_URL": erp_url,
        "LEGACY_SYNC_MAPPINGS": str(folder / "mappings"),
        "LEGACY_SYNC_LANDING": str(folder / "landing"),
    }
    program = str(Path(sys.executable).with_name("legacy-sync"))
    process = subprocess.Popen([program, "up"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield next(line.split()[1] for line in process.stdout if line.startswith("Dagster"))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def _ask(url: str, text: str, **variables: Any) -> None:
    body = json.dumps({"query": text, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer = json.load(reply)
    if "errors" in answer or answer["data"]["startSensor"]["__typename"] != "Sensor":
        raise RuntimeError(f"the sensor could not be switched on: {answer}")


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    tenths = statistics.quantiles(ordered, n=10, method="inclusive") if len(ordered) > 1 else ordered * 9
    return f"min {ordered[0]:.1f} s, median {tenths[4]:.1f} s, p90 {tenths[8]:.1f} s, max {ordered[-1]:.1f} s"


if __name__ == "__main__":
    raise SystemExit(main())
