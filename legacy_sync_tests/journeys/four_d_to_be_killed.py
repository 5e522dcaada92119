"""An old database as a process of its own, that remembers what was saved however it ends; see chaos_setup.py.

`python four_d_to_be_killed.py PORT FILE` makes the edits of the file, serves, and makes those that come on stdin.
"""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.sample_data import FAMILY_TABLE, VARIANT_TABLE


def new_store() -> Store:
    """Families and variants, none yet."""
    store = Store()
    for table in (FAMILY_TABLE, VARIANT_TABLE):
        store.add_table(table)
    return store


def edit(store: Store, line: dict[str, Any]) -> None:
    """Somebody saves a record, at the time that was written down."""
    with store.lock:
        store.clock.freeze(datetime.fromisoformat(line["at"]))
        if line["key"] in store.tables[line["table"]].position:
            store.update(line["table"], line["key"], line["values"])
        else:
            store.insert(line["table"], {"UID": line["key"], **line["values"]})
        store.clock.set(datetime.now(UTC))


def edit_all(store: Store, lines: Iterable[bytes | str]) -> None:
    """One after the other."""
    for line in lines:
        edit(store, orjson.loads(line))


def main(port: str, file: str) -> None:
    """Serve until killed."""
    store = new_store()
    edit_all(store, Path(file).read_bytes().splitlines())
    with FourDServer(store, int(port), licences=100_000):
        print("ready", flush=True)
        edit_all(store, sys.stdin)


if __name__ == "__main__":
    main(*sys.argv[1:])
