"""Who takes part, and by which command? Each is a whole process, as a scheduler would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".legacy_sync" / "bench-venv" / "bin" / "python"
OURS = "legacy_sync"
FLOOR = "floor"
FLOOR_TEXT = "floor-text"
DLT = "dlt"


@dataclass(frozen=True)
class Place:
    """Where one contender works: the stand-in, its own database, its own folder."""

    server: str
    database: str
    folder: Path
    page_size: int


@dataclass(frozen=True)
class Contender:
    """A name for the table of results, the command of a run, and where the rows end up."""

    name: str
    command: Callable[[Place], list[str]]
    schema: str = "public"


def floor(name: str, form: str) -> Contender:
    """The least code, with binary or text COPY."""
    module = "legacy_sync_tests.bench.floor"
    return Contender(
        name, lambda p: [sys.executable, "-m", module, p.server, p.database, str(p.page_size), form]
    )  # fmt: skip


def ours() -> Contender:
    """What a person types, with everything that belongs to a run: preflight, landing, ledger, plan."""
    program = str(Path(sys.executable).parent / "legacy-sync")
    return Contender(OURS, lambda _: [program, "run", "bench", "--json"])


def peer_dlt(python: Path) -> Contender:
    """dlt with Arrow tables."""
    module = "legacy_sync_tests.bench.peer_dlt"
    return Contender(
        DLT,
        lambda p: [str(python), "-m", module, p.server, p.database, str(p.page_size), str(p.folder / "pipelines")],
        schema="bench",
    )


def find_dlt() -> Path | None:
    """An interpreter that has dlt, or None."""
    probe = "import dlt, orjson, psycopg2, pyarrow"
    for python in (PEERS, Path(sys.executable)):
        if python.exists() and subprocess.run([python, "-c", probe], capture_output=True).returncode == 0:
            return python
    return None


def environment_of(place: Place) -> dict[str, str]:
    """What every contender finds in its environment: no settings of ours, compiled modules allowed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LEGACY_", "ERP_", "PYTHON", "PG"))}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "HOME": str(place.folder),  # nobody reads or leaves a configuration there
        "LEGACY_API_URL": place.server,
        "ERP_DATABASE_URL": place.database,
        "LEGACY_SYNC_LANDING": str(place.folder / "landing"),
        "LEGACY_SYNC_MAPPINGS": str(place.folder / "mappings"),
    }
