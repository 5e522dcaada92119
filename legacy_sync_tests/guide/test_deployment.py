"""Do the files that production starts from say what Dagster understands?"""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from legacy_sync.demo.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_dagster_yaml_loads_with_a_real_postgresql(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dagster import DagsterInstance
    from dagster._core.instance.config import PoolGranularity
    from dagster_postgres import PostgresEventLogStorage

    postgres.ensure_database("dagster_storage")
    url = urlsplit(postgres.url("dagster_storage"))
    values = {"HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": url.password}
    for name, value in (values | {"DB": "dagster_storage"}).items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", str(value))
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.yaml").read_bytes())
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        assert instance.get_runs_count() == 0
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds == 7200
        limits = instance.get_concurrency_config()
        assert limits.run_queue_config is not None
        assert limits.run_queue_config.max_concurrent_runs == 4
        assert limits.pool_config.pool_granularity == PoolGranularity.RUN


def test_web_server_and_daemon_share_the_code_server_that_the_readme_starts() -> None:
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    server = entry["grpc_server"]
    assert server["location_name"] == "legacy_sync.definitions"
    start = f"dagster code-server start -h {server['host']} -p {server['port']} -m legacy_sync.definitions"
    assert start in (ROOT / "README.md").read_text()


def test_pyproject_has_no_dagster_table_that_would_win_over_the_workspace() -> None:
    assert not {"dagster", "dg"} & tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"].keys()


def test_constraints_pin_every_dependency_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(r) for r in sum(project["optional-dependencies"].values(), project["dependencies"])]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    pinned[canonicalize_name("legacy-sync")] = "0"
    assert [str(r) for r in wanted if not r.specifier.contains(pinned[canonicalize_name(r.name)])] == []
