"""May a run start now by itself? Not while the source is in maintenance, nor before what it builds on is fresh."""

from datetime import UTC, datetime

from legacy_sync.mapping.clock import last_tick
from legacy_sync.mapping.maintenance import find_end
from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.layout import Layout
from legacy_sync.orchestration.requests import Ledger
from legacy_sync.orchestration.rhythm import to_cron


def in_maintenance(layout: Layout, source: str, now: datetime) -> str | None:
    """Why the source is left alone, and until when; None if it is not."""
    spec = layout.project.sources[source]
    end = find_end(spec.options.maintenance, now)
    if end is None:
        return None
    return (
        f"the source {source} is in maintenance until {end:%Y-%m-%d %H:%M %Z}\n"
        f'  where: "maintenance" of {spec.place or source}\n'
        "  next:  nothing: runs start by themselves afterwards; one that cannot wait can be started by hand"
    )


def waits_for(layout: Layout, ledger: Ledger, mapping: Mapping, tick: datetime) -> str | None:
    """Why a scheduled run of the entity has to wait for others (`only_after`); None if it need not."""
    schedule = mapping.schedule
    for name in schedule.only_after if schedule else ():
        if name in layout.project.mappings and (reason := _is_stale(layout, ledger, name, mapping, tick)):
            return (
                f"{mapping.entity} waits for {name}: {reason}\n"
                f'  where: mapping {mapping.entity}, "schedule.only_after"\n'
                f"  next:  see `legacy-sync status {name}`; the next tick of the schedule looks again"
            )
    return None


def _is_stale(layout: Layout, ledger: Ledger, name: str, child: Mapping, tick: datetime) -> str | None:
    """Its last run failed, or it has not succeeded since its own last tick before this one (or that of the child)."""
    state = ledger.state_of(name)
    upstream = layout.project.get(name)
    outcome = state.get("outcome")
    if outcome is None:
        return "it was never loaded"
    if not outcome.startswith("succeeded"):
        return f"its last run {outcome}" if outcome == "failed" else f"its last run is {outcome}"
    by_own = upstream.schedule is not None
    clock = upstream if by_own else child
    schedule = clock.schedule
    assert schedule is not None  # the child has one, else nothing would be asked
    due = last_tick(to_cron(clock, schedule), schedule.timezone, tick)
    loaded = ledger.loaded_at(upstream)
    if loaded is not None and loaded >= due.astimezone(UTC):
        return None
    whose = "its last tick" if by_own else "the last tick before this one"
    return f"it was loaded {_shown(loaded, due)}, but {whose} was {due:%Y-%m-%d %H:%M %Z}"


def _shown(moment: datetime | None, like: datetime) -> str:
    return f"{moment.astimezone(like.tzinfo):%Y-%m-%d %H:%M %Z}" if moment else "never"
