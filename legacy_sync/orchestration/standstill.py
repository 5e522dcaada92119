"""What does Dagster know that the ledger does not? Runs that failed before our code began, and what stands still."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus
from dagster._core.storage.dagster_run import RunRecord
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import SQLAlchemyError

from legacy_sync.errors import MappingInvalid
from legacy_sync.ledger import troubles
from legacy_sync.mapping.notify_words import DagsterRule, Kind
from legacy_sync.notify.situation import Seen, Situation
from legacy_sync.orchestration.jobs import CUT_TAG
from legacy_sync.orchestration.layout import Layout, build_layout, erp_key
from legacy_sync.orchestration.projects import read_project
from legacy_sync.orchestration.schedules import whole_jobs
from legacy_sync.settings import Settings

Find = Callable[[psycopg.Connection, datetime], Seen]

NAME = "notifications"
_KIND = frozenset[Kind]({"dagster"})
_UNREACHABLE = (dg.DagsterError, SQLAlchemyError, DagsterPostgresException)
_RECENT = timedelta(days=2)
_MOST_RUNS = 100
_MOST_TICKS = 50
_STILL_SECONDS = 900.0
_DAEMON_SECONDS = 600.0
_UI = "Dagster's UI, Automation"


@dataclass(frozen=True)
class Standstill:
    """Looks into a Dagster instance; `layout` is None where the mappings cannot be read."""

    instance: dg.DagsterInstance
    layout: Layout | None
    rule: DagsterRule
    now: datetime

    def find(self, connection: psycopg.Connection, *, from_daemon: bool) -> Seen:
        """Everything of the kind `dagster`; `from_daemon`: the daemon itself asks, so it is alive."""
        found = list(self._failed_runs(connection))
        silent = None if from_daemon else self._silent_daemon()
        if silent:
            found.append(silent)
        for name, state in self._automations().items():
            if situation := self._of_ticks(name, state, is_daemon_alive=silent is None):
                found.append(situation)
        found += self._switched_off()
        return Seen(tuple(found), _KIND)

    # --- runs ---

    def _failed_runs(self, connection: psycopg.Connection) -> Iterator[Situation]:
        """Failed runs of which the ledger knows no failure, and has not heard since."""
        filters = dg.RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=self.now - _RECENT)
        records = self.instance.get_run_records(filters, limit=_MOST_RUNS)
        if not records:
            return
        heard, failures = troubles.list_heard(connection), troubles.list_failures(connection)
        failed_at = {name: failure.failed_at for name, failure in failures.items()}
        by_label: dict[str, list[tuple[RunRecord, list[str]]]] = {}
        for record in records:  # the newest first
            missing = self._unheard(record, heard, failed_at)
            if missing is not None and not self._is_ours(record.dagster_run.run_id):
                label = record.dagster_run.tags.get(CUT_TAG) or record.dagster_run.job_name
                by_label.setdefault(label, []).append((record, missing))
        for label, several in by_label.items():
            yield self._of_runs(label, several)

    def _unheard(
        self, record: RunRecord, heard: Mapping[str, datetime], failed_at: Mapping[str, datetime]
    ) -> list[str] | None:
        """Entities of the run that were not tried since it was asked for; None if the ledger says enough."""
        asked, run = record.create_timestamp.astimezone(UTC), record.dagster_run
        entities = self._entities_of(run)
        if not entities:
            newest = self.instance.get_run_records(dg.RunsFilter(job_name=run.job_name), limit=1)
            is_last = bool(newest) and newest[0].dagster_run.run_id == run.run_id
            return [] if is_last else None
        if any(failed_at[e] >= asked for e in entities if e in failed_at):
            return None
        return [e for e in entities if e not in heard or heard[e] < asked] or None

    def _entities_of(self, run: dg.DagsterRun) -> list[str]:
        if self.layout is None:
            return []
        keys = set(run.asset_selection or whole_jobs(self.layout).get(run.job_name) or ())
        tables = {m.entity for t in self.layout.tables if t.key in keys for m in t.readers}
        return [e for e in self.layout.project.mappings if e in tables or erp_key(e) in keys]

    def _of_runs(self, label: str, several: list[tuple[RunRecord, list[str]]]) -> Situation:
        record, missing = several[0]
        ends = [r.end_time or r.create_timestamp.timestamp() for r, _ in several]
        times = f" ({len(several)} times)" if len(several) > 1 else ""
        untold = f"; not loaded: {', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}" if missing else ""
        return Situation(
            "dagster",
            f"run {label}",
            f"a run of {label} failed{times}",
            datetime.fromtimestamp(min(ends), UTC),
            f"{self._reason(record.dagster_run.run_id)}{untold}",
            f"Dagster, run {record.dagster_run.run_id[:8]}",
            "read the run's events in the UI, then re-execute it there",
            run=record.dagster_run.run_id,
        )

    def _is_ours(self, run_id: str) -> bool:
        """Whether our code said why the run failed: then the ledger was told, though it may be over since."""
        entries = self.instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE)
        errors = [getattr(e.dagster_event.event_specific_data, "error", None) for e in entries if e.dagster_event]
        return any(error is not None and error.cls_name == dg.Failure.__name__ for error in errors)

    def _reason(self, run_id: str) -> str:
        """The first line of what ended the run."""
        for entry in reversed(self.instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE)):
            event = entry.dagster_event
            data = event.event_specific_data if event else None
            error = getattr(data, "error", None)
            text = str(error.message if error else event.message if event else "")
            if text.strip():
                return text.strip().splitlines()[0]
        return "it ended without a word"

    # --- sensors, schedules, daemon ---

    def _automations(self) -> dict[str, InstigatorState]:
        """Sensors and schedules that Dagster has ever known, by name; this one is left out."""
        states = self.instance.all_instigator_state()
        return {state.instigator_name: state for state in states if state.instigator_name != NAME}

    def _of_ticks(self, name: str, state: InstigatorState, *, is_daemon_alive: bool) -> Situation | None:
        if not state.is_running or not is_daemon_alive:
            return None
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=_MOST_TICKS)
        ended = [tick for tick in ticks if tick.status != TickStatus.STARTED]
        if not ended:
            return None
        what = f"{_kind_of(state)} {name}"
        if ended[0].status == TickStatus.FAILURE:
            failing = _failing_since(ended)
            reason = ended[0].error.message.strip().splitlines()[0] if ended[0].error else "no reason was given"
            next_step = "read its last tick there; what it starts is not started meanwhile"
            return Situation("dagster", name, f"{what} fails", failing, reason, f"{_UI}, {name}", next_step)
        if state.instigator_type == InstigatorType.SENSOR and self._age(ended[0].timestamp) > _STILL_SECONDS:
            minutes = self._age(ended[0].timestamp) / 60  # a daemon that was just started needs a moment: since now
            reason = f"it is switched on, but had not looked for {minutes:.0f} min"
            return Situation(
                "dagster", name, f"{what} stands still", self.now, reason, f"{_UI}, {name}", "restart Dagster's daemon"
            )
        return None

    def _silent_daemon(self) -> Situation | None:
        heartbeat = self.instance.get_daemon_heartbeats().get("SENSOR")
        if heartbeat is None or self._age(heartbeat.timestamp) < _DAEMON_SECONDS:
            return None
        return Situation(
            "dagster",
            "daemon",
            "Dagster's daemon is silent",
            datetime.fromtimestamp(heartbeat.timestamp, UTC),
            "no schedule, no sensor and no queued run starts meanwhile",
            "Dagster, Deployment, Daemons",
            "start `dagster-daemon run -w workspace.yaml` again and read why it ended",
        )

    def _switched_off(self) -> Iterable[Situation]:
        states = {state.instigator_name: state for state in self.instance.all_instigator_state()}
        for name in self.rule.must_run:
            if name not in states or not states[name].is_running:
                what = "it has to run (`notifications.dagster.must_run`), and somebody switched it off, or never on"
                yield Situation("dagster", f"off {name}", f"{name} is off", self.now, what, _UI, "switch it on there")

    def _age(self, timestamp: float) -> float:
        return self.now.timestamp() - timestamp


def _failing_since(ticks: Iterable[InstigatorTick]) -> datetime:
    """When the first of the failures in a row was; the newest tick comes first."""
    since = 0.0
    for tick in ticks:
        if tick.status != TickStatus.FAILURE:
            break
        since = tick.timestamp
    return datetime.fromtimestamp(since, UTC)


def _kind_of(state: InstigatorState) -> str:
    return "sensor" if state.instigator_type == InstigatorType.SENSOR else "schedule"


@contextmanager
def opened_standstill(home: Path, settings: Settings, rule: DagsterRule) -> Iterator[Find]:
    """For a process outside of Dagster: how to look into the instance of this home."""
    try:
        layout = build_layout(read_project(settings))
    except MappingInvalid:
        layout = None
    try:
        instance = dg.DagsterInstance.from_config(str(home))
    except _UNREACHABLE as error:
        away = Seen((_storage_away(error, datetime.now(UTC)),), _KIND)
        yield lambda _connection, _now: away
        return
    with instance:

        def find(connection: psycopg.Connection, now: datetime) -> Seen:
            try:
                return Standstill(instance, layout, rule, now).find(connection, from_daemon=False)
            except _UNREACHABLE as error:
                return Seen((_storage_away(error, now),), _KIND)

        yield find


def _storage_away(error: Exception, now: datetime) -> Situation:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    headline, next_step = "Dagster's database cannot be reached", "check that its PostgreSQL runs (DAGSTER_PG_HOST …)"
    return Situation("dagster", "storage", headline, now, reason, "dagster.yaml", next_step)
