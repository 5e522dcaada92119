"""Which situations does the ledger show? Failed runs, guards, sources, conflicts, parked rows and lag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg

from legacy_sync.ledger import troubles
from legacy_sync.ledger.quarantine import count_open
from legacy_sync.ledger.troubles import Failure, Outage
from legacy_sync.mapping.clock import last_tick
from legacy_sync.mapping.maintenance import find_end
from legacy_sync.mapping.model import Mapping as EntityMapping
from legacy_sync.mapping.notify_words import CountRule, Kind, LagRule, Notifications
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.notify.situation import Seen, Situation, parts_of

KINDS: frozenset[Kind] = frozenset({"runs", "guards", "sources", "conflicts", "quarantine", "lag"})
GUARDS = ("GuardTripped", "MarkUnusable", "SourceUntrustworthy")
AWAY = ("SourceUnavailable", "SessionLimitReached")
_MOST_NAMED = 4

Entities = Mapping[str, EntityMapping | None]
"""The entities that count, and their mappings; None where those cannot be read."""


def find_situations(
    connection: psycopg.Connection,
    rules: Notifications,
    entities: Entities,
    sources: Mapping[str, SourceSpec],
    now: datetime,
) -> Seen:
    """Everything the ledger shows of these entities."""
    outages = troubles.list_outages(connection)
    failures = [f for name, f in troubles.list_failures(connection).items() if name in entities]
    found = [
        *_away(outages.values(), entities, sources, now),
        *_failed(failures),
        *_counted("conflicts", troubles.count_conflicts(connection), rules.conflicts, entities),
        *_counted("quarantine", _by_entity(count_open(connection)), rules.quarantine, entities),
        *_behind(troubles.list_reach(connection), rules.lag, entities, sources, now),
    ]
    return Seen(tuple(found), KINDS)


# --- sources and runs --------------------------------------------------------------------------


def _away(
    outages: Iterable[Outage], entities: Entities, sources: Mapping[str, SourceSpec], now: datetime
) -> Iterable[Situation]:
    wanted = {m.source.server for m in entities.values() if m} or {outage.source for outage in outages}
    for outage in outages:
        if outage.source in wanted and not outage.is_over and not _rests(outage.source, sources, now):
            what, where, next_step = parts_of(outage.message)
            yield Situation("sources", outage.source, f"{outage.source} is away", outage.since, what, where, next_step)


def _rests(source: str, sources: Mapping[str, SourceSpec], now: datetime) -> bool:
    """Whether the source is in maintenance, so that nobody expects anything of it."""
    return source in sources and find_end(sources[source].options.maintenance, now) is not None


def _failed(failures: Iterable[Failure]) -> Iterable[Situation]:
    for failure in failures:
        if failure.failure in AWAY and not failure.is_own:
            continue  # its source is told of
        name, is_guard = failure.entity, failure.failure in GUARDS
        what, where, next_step = parts_of(failure.message)
        tries = f" ({failure.tries} times)" if failure.tries > 1 else ""
        yield Situation(
            "guards" if is_guard else "runs",
            name,
            f"a guard stopped {name}" if is_guard else f"{name} failed{tries}",
            failure.since,
            what,
            where or (f"run {failure.run_id} of {name}" if failure.run_id else f"fetch of {name}"),
            next_step or f"`legacy-sync status {name}`; remove the cause, then `legacy-sync run {name}`",
            run=failure.dagster_run_id,
        )


# --- what waits for a person -------------------------------------------------------------------


def _by_entity(reasons: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Parked rows by entity, most first."""
    found: dict[str, dict[str, Any]] = {}
    for row in reasons:
        entry = found.setdefault(row["entity"], {"entity": row["entity"], "rows": 0, "oldest": row["oldest"]})
        entry["rows"] += row["rows"]
        entry["oldest"] = min(entry["oldest"], row["oldest"])
    return sorted(found.values(), key=lambda row: -row["rows"])


def _counted(kind: Kind, rows: Iterable[Mapping[str, Any]], rule: CountRule, entities: Entities) -> Iterable[Situation]:
    over = [r for r in rows if r["entity"] in entities and r["rows"] > rule.limit(r["entity"])]
    if not over:
        return
    total, named = sum(r["rows"] for r in over), over[:_MOST_NAMED]
    words = [f"{r['entity']} {r['rows']:,}" for r in named]
    if len(over) > len(named):
        words.append(f"{len(over) - len(named)} other entities {total - sum(r['rows'] for r in named):,}")
    one, several = ("value waits", "values wait") if kind == "conflicts" else ("row is parked", "rows are parked")
    yield Situation(
        kind,
        "all",
        f"{total:,} {one if total == 1 else several}",
        min(r["oldest"] for r in over),
        ", ".join(words),
        "",
        f"`legacy-sync {kind} list` shows them",
        size=total,
    )


# --- lag ---------------------------------------------------------------------------------------


def _behind(
    reach: Mapping[str, datetime],
    rule: LagRule,
    entities: Entities,
    sources: Mapping[str, SourceSpec],
    now: datetime,
) -> Iterable[Situation]:
    for name, mapping in entities.items():
        up_to = reach.get(name)
        if up_to is None or (mapping and _rests(mapping.source.server, sources, now)):
            continue
        limit = max(rule.limit(name), _two_ticks(mapping, now) if name not in rule.entities else timedelta())
        if now - up_to > limit:
            hours = (now - up_to).total_seconds() / 3600
            age = f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
            yield Situation(
                "lag",
                name,
                f"{name} is {age} behind",
                up_to,
                "later changes of its source are not in the ERP",
                f"entity {name}, allowed are {limit.total_seconds() / 3600:.0f} h",
                f"see whether its schedule or sensor is on; `legacy-sync run {name}` brings them now",
            )


def _two_ticks(mapping: EntityMapping | None, now: datetime) -> timedelta:
    """How long two rounds of the entity's schedule take; nothing if it has none."""
    schedule = mapping.schedule if mapping else None
    if schedule is None:
        return timedelta()
    if schedule.every:
        return 2 * schedule.every
    last = last_tick(schedule.cron or "", schedule.timezone, now)
    return now - last_tick(schedule.cron or "", schedule.timezone, last)
