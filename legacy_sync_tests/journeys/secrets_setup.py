"""Where could a secret have gone? Everything a run leaves: files, ledger, output, process list."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import psycopg
import pyarrow.parquet as pq


def found_in_text(text: str, secrets: Mapping[str, str]) -> set[str]:
    """The names of the secrets that stand in a text."""
    return {name for name, secret in secrets.items() if secret in text}


def found_in_files(folder: Path, secrets: Mapping[str, str], *, but: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """Which files, by name or content, hold which secrets; Parquet and SQLite are opened. `but` are parts of paths."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not any(part in path.as_posix() for part in but):
            shown = path.relative_to(folder).as_posix()
            if names := found_in_text(shown + _text_of(path), secrets):
                found[shown] = names
    return found


def _text_of(path: Path) -> str:
    text = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        text += str(pq.read_table(path).to_pylist())
    if text.startswith("SQLite format 3"):
        with closing(sqlite3.connect(path)) as connection:
            text += "\n".join(connection.iterdump())
    return text


def found_in_ledger(url: str, secrets: Mapping[str, str]) -> set[str]:
    """Which secrets stand in any row of the ledger."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'legacy_sync'"
        ).fetchall()
        assert tables
        rows = [
            str(row) for (table,) in tables for row in connection.execute(f"select t::text from {table} t").fetchall()
        ]
    return found_in_text("\n".join(rows), secrets)


@contextmanager
def watched_processes(secrets: Mapping[str, str]) -> Iterator[set[str]]:
    """Which secrets stood in the process list while the block ran; the set is filled as they are seen."""
    seen: set[str] = set()
    looks = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal looks
        while not stop.wait(0.02):
            looks += 1
            for process in psutil.process_iter():
                try:
                    seen.update(found_in_text("\0".join(process.cmdline()), secrets))
                except psutil.Error:
                    continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield seen
    stop.set()
    thread.join()
    assert looks > 1
