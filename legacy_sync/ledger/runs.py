"""Who ran what, when, with which result, and up to which watermark is an entity loaded?"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from legacy_sync.errors import EntityBusy

_LOCK_SPACE = 1_279_611_219  # first key of the advisory locks, so that others in the database do not collide


class RunNumbers(Protocol):
    """What a run reports of itself; the sync's RunReport has this form."""

    run_id: int | None
    outcome: Any
    partitions: Any
    counts: Any
    taken: Any
    commits: int

    def to_json(self) -> dict[str, Any]:
        """Everything, in plain types."""


@dataclass(frozen=True)
class Watermark:
    """Up to where one partition is loaded; `value` is the highest cursor seen (ISO) or None."""

    partition: str
    value: str | None
    loaded_at: datetime


@dataclass(frozen=True)
class LoadedPartition(Watermark):
    """A watermark, and the version of the mapping that the last load of the partition had (None: not known)."""

    mapping_version: str | None

    def is_stale(self, version: str) -> bool:
        """Whether the mapping said something else then."""
        return self.mapping_version not in (None, version)


def get_entity_id(connection: psycopg.Connection, name: str) -> int:
    """The number of an entity; a new one is given to a name not seen before."""
    query = "select id from legacy_sync.entity where name = %s"
    row = connection.execute(query, [name]).fetchone()
    if row is None:
        connection.execute("insert into legacy_sync.entity (name) values (%s) on conflict do nothing", [name])
        row = connection.execute(query, [name]).fetchone()
    assert row is not None  # just inserted
    return int(row[0])


@contextmanager
def entity_lock(connection: psycopg.Connection, entity_id: int, name: str) -> Iterator[None]:
    """Excludes every other load of the entity, in any process; raises EntityBusy at once.

    The lock belongs to the database session: it ends with the process, however that dies.
    """
    row = connection.execute("select pg_try_advisory_lock(%s, %s)", [_LOCK_SPACE, entity_id]).fetchone()
    if not row or not row[0]:
        holder = connection.execute(
            "select a.pid, a.application_name, a.backend_start from pg_locks l join pg_stat_activity a using (pid)"
            " where l.locktype = 'advisory' and l.classid = %s and l.objid = %s and l.granted",
            [_LOCK_SPACE, entity_id],
        ).fetchone()
        by = f" (database session {holder[0]} since {holder[2]:%Y-%m-%d %H:%M:%S} UTC)" if holder else ""
        raise EntityBusy(
            f"{name} is being loaded by another run{by}",
            where=f"entity {name}",
            next_step="wait for it to end, see `legacy-sync status`, and run again",
        )
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(%s, %s)", [_LOCK_SPACE, entity_id])


def column_sets(
    connection: psycopg.Connection, entity_id: int, names: Sequence[str]
) -> tuple[int, dict[int, tuple[str, ...]]]:
    """The number of this column order, and all column orders that bindings of the entity still use."""
    connection.execute(
        "insert into legacy_sync.column_set (entity_id, names) values (%s, %s) on conflict do nothing",
        [entity_id, list(names)],
    )
    rows = connection.execute(
        "select c.id, c.names from legacy_sync.column_set c where c.entity_id = %s and (c.names = %s or exists"
        " (select 1 from legacy_sync.binding b where b.entity_id = c.entity_id and b.column_set_id = c.id))",
        [entity_id, list(names)],
    ).fetchall()
    sets = {int(id_): tuple(order) for id_, order in rows}
    current = next(id_ for id_, order in sets.items() if order == tuple(names))
    return current, sets


def start_run(
    connection: psycopg.Connection,
    entity_id: int,
    *,
    mode: str,
    mapping_version: str,
    dagster_run_id: str | None,
    accepted_by: str | None = None,
) -> int:
    """Writes the beginning of a run at once, so that a run that dies is seen; runs that died before are closed.

    `accepted_by` is who lets changes pass that the guards would stop.
    """
    connection.execute(
        "update legacy_sync.run set outcome = 'failed', finished_at = clock_timestamp(),"
        " message = 'the process ended without a word; its transaction was rolled back'"
        " where entity_id = %s and outcome = 'running'",
        [entity_id],
    )
    row = connection.execute(
        "insert into legacy_sync.run (entity_id, mode, mapping_version, started_by, dagster_run_id, accepted_by)"
        " values (%s, %s, %s, %s, %s, %s) returning id",
        [entity_id, mode, mapping_version, who(), dagster_run_id, accepted_by],
    ).fetchone()
    assert row is not None  # insert … returning
    return int(row[0])


def finish_run(
    connection: psycopg.Connection, report: RunNumbers, message: str | None = None, failure: str | None = None
) -> None:
    """Writes how a run ended. The counts of one that failed stay those of its last commit.

    `failure` is the kind of the error that ended it.
    """
    connection.execute(
        "update legacy_sync.run set outcome = %(outcome)s, partitions = %(partitions)s,"
        " counts = case when %(outcome)s = 'failed' then counts else %(counts)s end, failure = %(failure)s,"
        " report = %(report)s, message = %(message)s, rows_fetched = %(rows)s, fetch_requests = %(requests)s,"
        " fetch_bytes = %(bytes)s, fetch_seconds = %(seconds)s, all_rows_because = %(because)s,"
        " changes_up_to = %(up_to)s,"
        " finished_at = case when %(outcome)s <> 'running' then clock_timestamp() end where id = %(run)s",
        {
            "outcome": report.outcome,
            "partitions": list(report.partitions),
            "counts": Jsonb(asdict(report.counts)),
            "report": Jsonb(report.to_json()),
            "message": message,
            "failure": failure,
            "rows": report.taken.rows,
            **asdict(report.taken.cost),
            "because": report.taken.all_rows_because or None,
            "up_to": report.taken.changes_up_to,
            "run": report.run_id,
        },
    )


def note_commit(connection: psycopg.Connection, report: RunNumbers) -> None:
    """Writes what is committed together with this: the counts so far, and the number of transactions of the run.

    Belongs into each transaction of a load. After a lost connection it tells whether the last one was committed.
    """
    connection.execute(
        "update legacy_sync.run set counts = %(counts)s, report = %(commits)s where id = %(run)s",
        {
            "counts": Jsonb(asdict(report.counts)),
            "commits": Jsonb({"commits": report.commits}),
            "run": report.run_id,
        },
    )


def count_commits(connection: psycopg.Connection, run_id: int) -> int:
    """How many transactions of a run that is under way were committed."""
    row = connection.execute(
        "select coalesce((report ->> 'commits')::int, 0) from legacy_sync.run where id = %s", [run_id]
    ).fetchone()
    return int(row[0]) if row else 0


def note_newest(connection: psycopg.Connection, entity_id: int, fetched: int) -> None:
    """Remembers when the newest rows taken in were fetched. Belongs into the transaction of the rows."""
    connection.execute(
        "update legacy_sync.entity set newest = %(fetched)s where id = %(entity)s and newest < %(fetched)s",
        {"fetched": fetched, "entity": entity_id},
    )


def note_quiet(connection: psycopg.Connection, entities: Sequence[str], at: datetime) -> None:
    """Remembers that there was nothing to fetch for these entities; written every quarter of an hour at most."""
    connection.execute(
        "update legacy_sync.entity set quiet_at = %(at)s where name = any(%(names)s)"
        " and (quiet_at is null or quiet_at < %(at)s - interval '15 minutes')",
        {"at": at, "names": list(entities)},
    )


def has_bindings(connection: psycopg.Connection, entity_id: int) -> bool:
    """Whether any legacy record of the entity is bound to an ERP row."""
    row = connection.execute(
        "select exists (select from legacy_sync.binding where entity_id = %s)", [entity_id]
    ).fetchone()
    return bool(row and row[0])


def count_bindings(connection: psycopg.Connection, entity_id: int) -> int:
    """How many legacy records of the entity are bound to ERP rows and not known to be gone."""
    row = connection.execute(
        "select count(*) from legacy_sync.binding where entity_id = %s and missing_since is null", [entity_id]
    ).fetchone()
    return int(row[0]) if row else 0


def read_watermarks(connection: psycopg.Connection, entity_id: int) -> dict[str, Watermark]:
    """All loaded partitions of an entity."""
    rows = connection.execute(
        "select partition, value, loaded_at from legacy_sync.watermark where entity_id = %s", [entity_id]
    )
    return {r[0]: Watermark(*r) for r in rows}


def read_loaded(connection: psycopg.Connection, entity_id: int) -> dict[str, LoadedPartition]:
    """The loaded partitions of an entity, and by which version of its mapping each was loaded last."""
    rows = connection.execute(
        "select w.partition, w.value, w.loaded_at, r.mapping_version from legacy_sync.watermark w"
        " left join legacy_sync.run r on r.id = w.run_id where w.entity_id = %s",
        [entity_id],
    )
    return {r[0]: LoadedPartition(*r) for r in rows}


def move_watermark(
    connection: psycopg.Connection, entity_id: int, partition: str, value: str | None, run_id: int
) -> None:
    """Says that a partition is loaded up to `value`; it never moves back. Belongs into the transaction of the rows."""
    connection.execute(
        "insert into legacy_sync.watermark as w (entity_id, partition, value, run_id) values (%s, %s, %s, %s)"
        " on conflict (entity_id, partition) do update set value = greatest(w.value, excluded.value),"
        " run_id = excluded.run_id, loaded_at = now()",
        [entity_id, partition, value, run_id],
    )


def set_mark(connection: psycopg.Connection, entity_id: int, partition: str, value: str | None, run_id: int) -> None:
    """Says anew up to where a partition is loaded, even if that is less than before: all of it was read again."""
    connection.execute(
        "insert into legacy_sync.watermark as w (entity_id, partition, value, run_id) values (%s, %s, %s, %s)"
        " on conflict (entity_id, partition) do update set value = excluded.value,"
        " run_id = excluded.run_id, loaded_at = now()",
        [entity_id, partition, value, run_id],
    )


def find_known(connection: psycopg.Connection, entity_id: int, keys: Sequence[str]) -> list[str]:
    """Of these legacy keys those that are bound and not known to be gone, or parked."""
    rows = connection.execute(
        "select legacy_key from legacy_sync.binding where entity_id = %(entity)s and legacy_key = any(%(keys)s)"
        " and missing_since is null union select legacy_key from legacy_sync.quarantine"
        " where entity_id = %(entity)s and legacy_key = any(%(keys)s) and status in ('open', 'watching')",
        {"entity": entity_id, "keys": list(keys)},
    )
    return [str(key) for (key,) in rows.fetchall()]


def loaded_fetches(connection: psycopg.Connection, entity_id: int, partition: str) -> set[str]:
    """Ids of the landed fetches a partition has taken in."""
    rows = connection.execute(
        "select fetch_id from legacy_sync.loaded_fetch where entity_id = %s and partition = %s", [entity_id, partition]
    )
    return {r[0] for r in rows}


def find_takers(connection: psycopg.Connection, partition: str, fetch_ids: Sequence[str]) -> dict[str, set[int]]:
    """By landed fetch the entities that have taken it in; fetches that nobody has are left out."""
    rows = connection.execute(
        "select f.fetch_id, array_agg(f.entity_id) from legacy_sync.entity e join legacy_sync.loaded_fetch f"
        " on f.entity_id = e.id and f.partition = %s and f.fetch_id = any(%s) group by f.fetch_id",
        [partition, list(fetch_ids)],
    )
    return {str(fetch_id): set(ids) for fetch_id, ids in rows.fetchall()}


def remember_fetches(
    connection: psycopg.Connection, entity_id: int, partition: str, fetch_ids: Sequence[str], run_id: int
) -> None:
    """Says that landed fetches were taken in. Belongs into the transaction of the rows."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into legacy_sync.loaded_fetch (entity_id, partition, fetch_id, run_id) values (%s, %s, %s, %s)"
            " on conflict (entity_id, partition, fetch_id) do update set run_id = excluded.run_id",
            [(entity_id, partition, fetch_id, run_id) for fetch_id in fetch_ids],
        )


def replace_fetches(
    connection: psycopg.Connection, entity_id: int, partition: str, old: Sequence[str], new: str
) -> None:
    """Says that one landed fetch stands for several that were taken in."""
    connection.execute(
        "with gone as (delete from legacy_sync.loaded_fetch where entity_id = %(entity)s"
        " and partition = %(partition)s and fetch_id = any(%(old)s) returning run_id)"
        " insert into legacy_sync.loaded_fetch (entity_id, partition, fetch_id, run_id)"
        " select %(entity)s, %(partition)s, %(new)s, max(run_id) from gone",
        {"entity": entity_id, "partition": partition, "old": list(old), "new": new},
    )


def list_entity_states(connection: psycopg.Connection) -> dict[str, dict[str, Any]]:
    """For each entity its last run, its open quarantine and conflicts, its bound rows and its newest watermark."""
    query = """
        select e.name, r.id as run_id, r.mode, r.outcome, r.started_at, r.finished_at, r.counts, r.message,
               r.accepted_by,
               good.finished_at as last_success_at,
               brought.id as brought_run, brought.finished_at as brought_at,
               (select greatest(x.changes_up_to, e.quiet_at) from legacy_sync.run x where x.entity_id = e.id
                and x.outcome like 'succeeded%' and x.changes_up_to is not null order by x.id desc limit 1)
                as changes_up_to,
               (select count(*) from legacy_sync.binding b
                where b.entity_id = e.id and b.missing_since is null) as bound,
               (select count(*) from legacy_sync.quarantine q where q.entity_id = e.id and q.status = 'open') as parked,
               (select count(*) from legacy_sync.conflict c
                where c.entity_id = e.id and c.status = 'open') as conflicts,
               (select max(w.value) from legacy_sync.watermark w
                where w.entity_id = e.id and w.partition not in ('stamp', 'keys', 'whole')) as watermark
        from legacy_sync.entity e
        left join lateral (select * from legacy_sync.run r where r.entity_id = e.id
                           order by r.id desc limit 1) r on true
        left join lateral (select finished_at from legacy_sync.run r where r.entity_id = e.id
                           and r.outcome like 'succeeded%' order by r.id desc limit 1) good on true
        left join lateral (
            select x.id, x.finished_at from (select id, finished_at, counts from legacy_sync.run
                where entity_id = e.id and outcome like 'succeeded%' order by id desc limit 100) x
            where jsonb_path_exists(x.counts, '$.keyvalue() ? (@.key like_regex "^(inserted|updated|adopted)$"
                && @.value > 0)') order by x.id desc limit 1) brought on true
        order by e.name
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return {row.pop("name"): row for row in cursor.execute(query).fetchall()}


def list_costs(connection: psycopg.Connection, since: datetime) -> dict[str, dict[str, dict[str, Any]]]:
    """For each entity what its runs that ended `since` cost together (`recent`), and what its last run cost (`last`).

    Numbers that no run has, such as those of runs of an older program, are None.
    """
    query = """
        with chosen as (
            select 'recent' as what, r.* from legacy_sync.run r where r.finished_at >= %s
            union all
            select 'last', r.* from legacy_sync.entity e cross join lateral (
                select * from legacy_sync.run where entity_id = e.id and finished_at is not null
                order by id desc limit 1) r)
        select e.name, c.what, count(*) as runs, sum(c.fetch_requests)::bigint as requests,
               sum(c.fetch_bytes)::bigint as bytes, sum(c.rows_fetched)::bigint as rows_fetched,
               sum(changed.rows)::bigint as rows_changed, sum(c.fetch_seconds) as seconds_fetch,
               sum((c.report -> 'seconds' ->> 'transform')::float8) as seconds_transform,
               sum((c.report -> 'seconds' ->> 'stage')::float8) as seconds_stage,
               sum((c.report -> 'seconds' ->> 'plan')::float8) as seconds_plan,
               sum((c.report -> 'seconds' ->> 'apply')::float8) as seconds_apply,
               max(c.finished_at) as finished_at,
               array_remove(array_agg(distinct c.all_rows_because), null) as all_rows_because
        from chosen c join legacy_sync.entity e on e.id = c.entity_id
        cross join lateral (select sum(n.value::bigint) as rows from jsonb_each_text(c.counts) n
                            where n.key in ('inserted', 'updated', 'deleted', 'adopted')) changed
        group by e.name, c.what
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(query, [since]):
            found.setdefault(row.pop("name"), {})[row.pop("what")] = row
    return found


def list_loading(connection: psycopg.Connection) -> list[str]:
    """The entities that are being loaded now, by whatever process."""
    rows = connection.execute(
        "select e.name from pg_locks l join pg_database d on d.oid = l.database and d.datname = current_database()"
        " join legacy_sync.entity e on e.id = l.objid::bigint"
        " where l.locktype = 'advisory' and l.classid = %s and l.granted",
        [_LOCK_SPACE],
    )
    return [str(name) for (name,) in rows.fetchall()]


def read_links(connection: psycopg.Connection) -> dict[str, dict[str, dict[str, int]]]:
    """For each entity how its newest run with references to resolve, of the last hundred, found their parents.

    As a run reports it: reference column → {rows, linked, blank, missing, ambiguous, …}.
    """
    rows = connection.execute(
        "select e.name, r.links from legacy_sync.entity e cross join lateral ("
        "  select x.links from (select id, report -> 'links' as links from legacy_sync.run"
        "    where entity_id = e.id and outcome like 'succeeded%' order by id desc limit 100) x"
        "  where x.links @? '$.* ? (@.rows > @.blank)' order by x.id desc limit 1) r"
    ).fetchall()
    return {str(name): dict(links) for name, links in rows}


def who() -> str:
    """The user of this process and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry in the password database, as in some containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
