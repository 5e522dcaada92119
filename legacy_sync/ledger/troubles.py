"""What is not as it should be? Failed runs and fetches, sources that do not answer, values that wait for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from legacy_sync.ledger.runs import list_loading

LOST = "the process ended without a word; its transaction was rolled back"


@dataclass(frozen=True)
class Failure:
    """An entity whose last try failed: the newest message, since when, and how often in a row.

    `is_own`: its source had answered others between the tries.
    """

    entity: str
    failure: str | None
    message: str
    since: datetime
    failed_at: datetime
    tries: int
    run_id: int | None
    dagster_run_id: str | None
    is_own: bool = False


@dataclass(frozen=True)
class Outage:
    """The last time a source did not answer, and when it did again."""

    source: str
    message: str
    since: datetime
    answered_at: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether it has answered since."""
        return self.answered_at is not None and self.answered_at >= self.since


# --- fetches and sources -----------------------------------------------------------------------


def note_fetch_failure(
    connection: psycopg.Connection,
    entity_id: int,
    *,
    source: str,
    failure: str,
    message: str,
    dagster_run_id: str | None,
) -> None:
    """Remembers that a fetch failed; to be called before the outage of its source is noted."""
    connection.execute(
        "insert into legacy_sync.fetch_failure as f (entity_id, failure, message, dagster_run_id)"
        " values (%s, %s, %s, %s) on conflict (entity_id) do update set failure = excluded.failure,"
        " message = excluded.message, dagster_run_id = excluded.dagster_run_id, failed_at = clock_timestamp(),"
        " tries = f.tries + 1, is_own = f.is_own or exists (select from legacy_sync.outage o"
        "  where o.source = %s and o.answered_at > f.since)",
        [entity_id, failure, message, dagster_run_id, source],
    )


def clear_fetch_failures(connection: psycopg.Connection, entities: Sequence[str]) -> None:
    """A fetch of these entities went well."""
    connection.execute(
        "delete from legacy_sync.fetch_failure f using legacy_sync.entity e"
        " where e.id = f.entity_id and e.name = any(%s)",
        [list(entities)],
    )


def note_outage(connection: psycopg.Connection, source: str, message: str) -> None:
    """Remembers that a source does not answer."""
    connection.execute(
        "insert into legacy_sync.outage as o (source, message) values (%s, %s) on conflict (source) do update"
        " set message = excluded.message,"
        " since = case when o.answered_at > o.since then excluded.since else o.since end",
        [source, message],
    )


def end_outage(connection: psycopg.Connection, source: str) -> None:
    """A source has answered; nothing is written if it did before."""
    connection.execute(
        "update legacy_sync.outage set answered_at = clock_timestamp()"
        " where source = %s and (answered_at is null or answered_at < since)",
        [source],
    )


def list_outages(connection: psycopg.Connection) -> dict[str, Outage]:
    """By source its last outage, over or not."""
    with connection.cursor(row_factory=class_row(Outage)) as cursor:
        found = cursor.execute(
            "select source, message, since, answered_at from legacy_sync.outage order by 1"
        ).fetchall()
    return {outage.source: outage for outage in found}


# --- entities ----------------------------------------------------------------------------------

_FAILED_RUNS = """
select e.name as entity, r.failure, coalesce(r.message, 'it failed without a word') as message,
       first.since, coalesce(r.finished_at, r.started_at) as failed_at, first.tries::int as tries,
       r.id as run_id, r.dagster_run_id, false as is_own
from legacy_sync.entity e
cross join lateral (select * from legacy_sync.run where entity_id = e.id order by id desc limit 1) r
cross join lateral (
    select min(coalesce(x.finished_at, x.started_at)) as since, count(*) as tries from legacy_sync.run x
    where x.entity_id = e.id and x.outcome = 'failed' and x.id > coalesce((
        select max(good.id) from legacy_sync.run good
        where good.entity_id = e.id and good.outcome like 'succeeded%%'), 0)) first
where r.outcome = 'failed'
"""
_LOST_RUNS = """
select e.name as entity, null as failure, %(lost)s as message, r.started_at as since, r.started_at as failed_at,
       1 as tries, r.id as run_id, r.dagster_run_id
from legacy_sync.entity e
cross join lateral (select * from legacy_sync.run where entity_id = e.id order by id desc limit 1) r
where r.outcome = 'running' and e.name <> all(%(loading)s)
"""
_FAILED_FETCHES = """
select e.name as entity, f.failure, f.message, f.since, f.failed_at, f.tries, null::bigint as run_id, f.dagster_run_id,
       f.is_own
from legacy_sync.fetch_failure f join legacy_sync.entity e on e.id = f.entity_id
"""


def list_failures(connection: psycopg.Connection) -> dict[str, Failure]:
    """By entity its last try, if that failed: a fetch, a load, or a load whose process is gone."""
    found = _failures(connection, _FAILED_RUNS)
    found |= {name: lost for name, lost in _lost(connection).items() if name not in found}
    for name, fetch in _failures(connection, _FAILED_FETCHES).items():
        run = found.get(name)
        if run is None or run.failed_at <= fetch.failed_at:
            found[name] = fetch
    return found


def _failures(connection: psycopg.Connection, query: Any, **values: Any) -> dict[str, Failure]:
    with connection.cursor(row_factory=class_row(Failure)) as cursor:
        return {failure.entity: failure for failure in cursor.execute(query, values).fetchall()}


def _lost(connection: psycopg.Connection) -> dict[str, Failure]:
    """Runs that nobody carries out any more; seen twice, since one may end between the two questions."""
    first = _failures(connection, _LOST_RUNS, lost=LOST, loading=[])
    if not first:
        return {}
    loading = list_loading(connection)
    second = _failures(connection, _LOST_RUNS, lost=LOST, loading=loading)
    return {name: failure for name, failure in second.items() if failure == first.get(name)}


def list_heard(connection: psycopg.Connection) -> dict[str, datetime]:
    """By entity when its last run began, or its last fetch failed, whichever was later."""
    rows = connection.execute(
        "select e.name, greatest((select max(r.started_at) from legacy_sync.run r where r.entity_id = e.id),"
        " (select f.failed_at from legacy_sync.fetch_failure f where f.entity_id = e.id)) from legacy_sync.entity e"
    )
    return {str(name): heard for name, heard in rows.fetchall() if heard is not None}


def list_reach(connection: psycopg.Connection) -> dict[str, datetime]:
    """By entity up to when all changes are in the ERP; where that was never seen, when its last good run ended."""
    rows = connection.execute(
        "select e.name, coalesce((select greatest(r.changes_up_to, e.quiet_at) from legacy_sync.run r"
        "   where r.entity_id = e.id and r.outcome like 'succeeded%' and r.changes_up_to is not null"
        "   order by r.id desc limit 1),"
        "  (select greatest(r.finished_at, e.quiet_at) from legacy_sync.run r where r.entity_id = e.id"
        "   and r.outcome like 'succeeded%' order by r.id desc limit 1)) from legacy_sync.entity e"
    )
    return {str(name): reach for name, reach in rows.fetchall() if reach is not None}


def count_conflicts(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Open conflicts by entity, and since when the oldest waits."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select e.name as entity, count(*) as rows, min(c.detected_at) as oldest from legacy_sync.conflict c"
            " join legacy_sync.entity e on e.id = c.entity_id where c.status = 'open' group by 1 order by 2 desc, 1"
        ).fetchall()
