"""Does Dagster run the systems beside 4D like 4D, and does its sensor leave web services alone?"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_setup import QUICK, materializations, resources

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.web_services import Beside, OtherSystems
from legacy_sync.orchestration.build import build_definitions
from legacy_sync.settings import read_settings

CURRENCIES = (dg.AssetKey(["legacy", "currencies"]), dg.AssetKey(["erp", "currency_currency"]))


@pytest.fixture
def systems(
    four_d: FourDServer, erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OtherSystems]:
    """4D and all other systems, in the environment of this process as in that of a run."""
    with Beside(four_d.store, tmp_path / "others", 1, datetime.now(UTC).date()).started() as systems:
        environ = {
            "LEGACY_API_URL": four_d.url,
            "ERP_DATABASE_URL": erp_url,
            "LEGACY_SYNC_LANDING": str(tmp_path / "landing"),
            **systems.variables,
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield systems


def definitions() -> dg.Definitions:
    return build_definitions(read_settings(), QUICK)


def test_a_pair_of_assets_of_another_system_is_materialised(systems: OtherSystems):
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(instance=instance, asset_selection=list(CURRENCIES), raise_on_error=False)
        )
    assert result.success
    ((_, landed),) = materializations(result, CURRENCIES[0])
    assert landed["dagster/row_count"] == 30
    assert set(systems.server.asked) == {"/frankfurter/v1/currencies"}


def test_the_sensor_asks_no_web_service_and_a_folder_that_is_away_stops_nobody(
    systems: OtherSystems, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DROP_FOLDER", os.devnull)
    made = definitions()
    with dg.DagsterInstance.ephemeral() as instance:

        def tick(sensor: str) -> tuple[set[dg.AssetKey], str | None]:
            context = dg.build_sensor_context(instance=instance, definitions=made, resources=resources())
            result: Any = made.resolve_sensor_def(sensor).evaluate_tick(context)
            return {key for r in result.run_requests for key in r.asset_selection or ()}, result.skip_message

        assert {sensor.name for sensor in made.sensors or ()} >= {"legacy_changes", "drop_folder_changes"}
        away, reason = tick("drop_folder_changes")
        wanted = tick("legacy_changes")[0] | tick("warehouse_changes")[0]
    assert (away, "  next:  " in str(reason)) == (set(), True)
    assert dg.AssetKey(["erp", "products_parentproduct"]) in wanted
    assert dg.AssetKey(["legacy", "stock_movement"]) in wanted
    assert not wanted & {*CURRENCIES, dg.AssetKey(["legacy", "tags"])}
    assert list(systems.server.asked) == []
