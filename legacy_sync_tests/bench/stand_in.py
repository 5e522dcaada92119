"""Who answers? The stand-in 4D server over the large table, in a process of its own, with three orders for the bench.

`POST /__admin/actions/change` is a day on which 1 % of the rows change (or as many as was said at the start),
`…/quiet` some days with a single one, `…/truth` says what every contender must have in the end.
"""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import partial

from legacy_sync.demo.four_d_server.server import FourDServer
from legacy_sync.demo.four_d_server.store import Row, Store
from legacy_sync.demo.sample_data import BENCH, TODAY, change_bench, wide_table


def main(rows: str, changed: str = "0") -> None:
    """Serve `rows` rows on a free port until killed; the first line of the output is the address."""
    store = wide_table(int(rows))
    # Long ago, so that a day may pass in every round and no date ever lies in the future.
    store.clock.set(datetime.combine(TODAY, time(12), UTC))
    actions = {"change": partial(_change, int(changed) or None), "quiet": _quiet, "truth": _truth}
    with FourDServer(store, licences=1000, actions=actions) as server:
        print(server.url, flush=True)
        threading.Event().wait()


def _change(rows: int | None, store: Store, seed: int) -> Row:
    store.clock.advance(seconds=86_400)
    return {"changed": len(change_bench(store, seed=seed, rows=rows))}


def _quiet(store: Store, seed: int) -> Row:
    store.clock.advance(seconds=3 * 86_400)
    rows = len(store.tables[BENCH])
    return {"changed": len(change_bench(store, share=1.5 / rows, seed=seed))}


def _truth(store: Store, _seed: int) -> Row:
    days: dict[str, int] = {}
    money, pieces = Decimal(0), 0
    table = store.tables[BENCH]
    for slot in table.position.values():
        row = table.decoded(slot)
        day = str(row["modified_date"])
        days[day] = days.get(day, 0) + 1
        money += Decimal(str(row["Preis"]))
        pieces += int(str(row["Menge"]))
    newest = max(days, key=_iso)
    return {
        "rows": len(table),
        "sum(preis)": str(money),
        "sum(menge)": pieces,
        "max(modified_date)": _iso(newest),
        "rows of that day": days[newest],
    }


def _iso(text: str) -> str:
    day, month, year = map(int, text.split("!"))
    return f"{year:04d}-{month:02d}-{day:02d}"


if __name__ == "__main__":
    main(*sys.argv[1:])
