"""What did keeping up cost? The tables of `status --cost` and `status --live`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from legacy_sync.cli.shell import console, print_table

if TYPE_CHECKING:
    from legacy_sync.sync.waiting import Waiting

_STAGES = ("fetch", "transform", "stage", "plan", "apply")
_NUMBERS = ("runs", "requests", "bytes", "rows_fetched", "rows_changed")
_TITLES = {"recent": "last 24 hours", "last": "last run"}


def cost_of(found: Dict[str, Dict[str, Any]]) -> dict[str, Any]:
    """The costs of an entity in plain types: `last_24_hours` and `last_run`; None where there was no run."""
    return {"last_24_hours": _numbers_of(found.get("recent")), "last_run": _numbers_of(found.get("last"))}


def _numbers_of(found: Dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    fetched, changed = found["rows_fetched"], found["rows_changed"] or 0
    return {
        **{name: found[name] for name in _NUMBERS},
        "rows_changed": changed,
        "share_changed": changed / fetched if fetched else None,
        "seconds": {stage: found[f"seconds_{stage}"] for stage in _STAGES},
        "finished_at": found["finished_at"],
        "all_rows_because": found["all_rows_because"],
    }


def print_costs(rows: Sequence[Dict[str, Any]]) -> None:
    """A table of the last 24 hours and one of the last runs, a line per entity that has any."""
    numbers = (*(name.replace("_", " ") for name in _NUMBERS), "share changed")
    columns = ("entity", *numbers, *(f"{stage} s" for stage in _STAGES))
    for name in _TITLES.values():
        print_table(f"cost, {name}", columns, _cost_rows(rows, name.replace(" ", "_")))
    for row in rows:
        for reason in (row["cost"]["last_run"] or {}).get("all_rows_because", ()):
            text = f"{row['entity']}: its last run read all rows: {reason}"
            console().print(text, markup=False, soft_wrap=True)
    for names in dict.fromkeys(tuple(sorted([row["entity"], *row["fetched_with"]])) for row in rows):
        if len(names) > 1:
            text = f"{' and '.join(names)} share their fetches: what one cost counts for the first that loads it"
            console().print(text, markup=False, soft_wrap=True)


def _cost_rows(rows: Sequence[Dict[str, Any]], name: str) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        cost = row["cost"][name]
        if cost:
            share = cost["share_changed"]
            yield (
                row["entity"],
                *(cost[number] for number in _NUMBERS),
                f"{share:.1%}" if share is not None else None,
                *(_rounded(cost["seconds"][stage]) for stage in _STAGES),
            )


def _rounded(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:,.2f}"


def waiting_of(waiting: Waiting) -> dict[str, Any]:
    """What waits in the source, in plain types."""
    return {"rows": waiting.rows, "since": waiting.since, "how": waiting.how, "problem": waiting.problem}


def print_waiting(rows: Sequence[Dict[str, Any]]) -> None:
    """What waits in the sources, a line per entity."""
    columns = ("entity", "rows waiting", "since at the earliest", "")
    print_table("waiting in the sources, deletes apart", columns, _waiting_rows(rows))


def _waiting_rows(rows: Sequence[Dict[str, Any]]) -> Iterator[tuple[str, int | None, datetime | None, str]]:
    for row in rows:
        waits = row["waiting"]
        problem = f"cannot be asked: {waits['problem']}" if waits["problem"] else ""
        yield row["entity"], waits["rows"], waits["since"], problem or waits["how"]
