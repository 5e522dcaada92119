"""What do the journeys through Dagster share? A journey whose entities are started as the UI does."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from journey_setup import MONTHS, PARENTS, VARIANTS, Journey, empty_store

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.mapping.retry import Rerun
from legacy_sync.orchestration.build import build_definitions
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi
from legacy_sync.settings import read_settings

QUICK = Rerun(attempts=3, first_pause=timedelta(milliseconds=10))
FAMILIES_TABLE = dg.AssetKey(["legacy", "Artikel_Familie"])
FAMILIES = dg.AssetKey(["erp", PARENTS])
VARIANTS_TABLE = dg.AssetKey(["legacy", "Artikel_Variante"])
VARIANTS_ROWS = dg.AssetKey(["erp", VARIANTS])
FAMILY_PAIR = (FAMILIES_TABLE, FAMILIES)
VARIANT_PAIR = (VARIANTS_TABLE, VARIANTS_ROWS)
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class Desk:
    """A journey with calendar months, its definitions and an instance that forgets."""

    def __init__(self, journey: Journey, instance: dg.DagsterInstance) -> None:
        self.journey = journey
        self.instance = instance
        self.cursors: dict[str, str | None] = {}
        self.told: list[str] = []

    @property
    def definitions(self) -> dg.Definitions:
        """What Dagster loads, with short pauses between tries."""
        return self.define(QUICK)

    def define(self, patience: Rerun | None) -> dg.Definitions:
        """The same, with this patience or what the mappings say."""
        _ = self.journey.workspace  # writes the mappings
        return build_definitions(read_settings(self.journey.environ), patience)

    def run(
        self,
        keys: Sequence[dg.AssetKey],
        partition: str | None = None,
        until: str | None = None,
        tags: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
        patience: Rerun | None = QUICK,
    ) -> dg.ExecuteInProcessResult:
        """Materialises assets as a launch in the UI does: no partition, one, or a range up to `until`."""
        partitions = {RANGE_START: partition, RANGE_END: until or partition} if partition else {}
        return (
            self.define(patience)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=self.instance,
                asset_selection=list(keys),
                tags={**partitions, **(tags or {})},
                run_config={"ops": config or {}},
                raise_on_error=False,
            )
        )

    def tick(self, sensor: str = "legacy_changes") -> Any:
        """One tick of a sensor, which remembers the last one; what it tells people is kept in `told`."""
        definitions = self.definitions
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(sensor),
            definitions=definitions,
            resources=resources(),
        )
        context.log.addHandler(_Kept(self.told))
        result = definitions.resolve_sensor_def(sensor).evaluate_tick(context)
        self.cursors[sensor] = result.cursor
        return result

    @property
    def cursor(self) -> str | None:
        """What the sensor of 4D remembers."""
        return self.cursors.get("legacy_changes")

    @cursor.setter
    def cursor(self, value: str | None) -> None:
        self.cursors["legacy_changes"] = value

    def answer(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """What the daemon does with a request."""
        return self.run(request.asset_selection or [], tags=dict(request.tags))


class _Kept(logging.Handler):
    """Keeps the messages of warnings and errors."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        self.messages.append(record.getMessage())


@contextmanager
def open_desk(
    erp_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance | None = None
) -> Iterator[Desk]:
    """A desk whose mappings have calendar months; settings come from the environment, as they do in a run."""
    with FourDServer(empty_store()) as server, ExitStack() as stack:
        journey = Journey(server, erp_url, folder)
        for entity in (PARENTS, VARIANTS):
            journey.remap(entity, partitions=MONTHS)
        for name, value in journey.environ.items():
            monkeypatch.setenv(name, value)
        yield Desk(journey, instance or stack.enter_context(dg.DagsterInstance.ephemeral()))
        journey.close()


def materializations(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> list[tuple[str | None, dict[str, Any]]]:
    """Partition and metadata of every materialisation of an asset in a run, in order."""
    events = result.asset_materializations_for_node(key.to_python_identifier())
    return [(e.partition, {name: value.value for name, value in e.metadata.items()}) for e in events]  # type: ignore[union-attr]


def checks(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    """Check evaluations of an asset by name."""
    return {e.check_name: e for e in result.get_asset_check_evaluations() if e.asset_key == key}


def failure(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> Any:
    """The one failure of an asset's step."""
    (event,) = [e for e in result.get_step_failure_events() if e.step_key == key.to_python_identifier()]
    return event.step_failure_data


def resources() -> dict[str, Any]:
    """Both ends as the environment says."""
    return {"legacy_api": LegacyApi(), "erp_database": ErpDatabase()}
