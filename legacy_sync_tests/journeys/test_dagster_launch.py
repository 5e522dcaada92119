"""Do the real programs of Dagster start the sync? The command line, the web server, the daemon."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_graphql import DagsterGraphQLClient
from dagster_setup import FAMILIES, FAMILIES_TABLE, RANGE_END, RANGE_START, Desk, open_desk
from journey_setup import PARENTS, VARIANTS

MODULE = ("-m", "legacy_sync.definitions")
pytestmark = pytest.mark.timeout(300)  # whole programs start here, each some seconds on an idle machine
BOTH = "legacy/Artikel_Familie,erp/products_parentproduct"
QUICK = {
    "telemetry": {"enabled": False},
    "run_queue": {"dequeue_interval_seconds": 1},
    "sensors": {"use_threads": True, "num_workers": 1},
}
DIRECT = {
    "telemetry": {"enabled": False},
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk whose instance lies in a folder, as other processes need it."""
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        _ = desk.definitions  # writes the mappings
        yield desk


@contextmanager
def instance_of(desk: Desk, settings: dict[str, object] | None = None) -> Iterator[dg.DagsterInstance]:
    home = Path(os.environ["DAGSTER_HOME"])
    if settings:
        (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def dagster(program: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / program), *arguments]


def materialize(desk: Desk, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = dagster("dagster", "asset", "materialize", *MODULE, *arguments)
    return subprocess.run(command, cwd=desk.journey.folder, capture_output=True, text=True, timeout=120)


@contextmanager
def running(desk: Desk, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    log = desk.journey.folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=desk.journey.folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The program and its children, first politely."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)


def wait_for_run(desk: Desk, instance: dg.DagsterInstance, seconds: float = 120) -> dg.DagsterRun:
    """The first run, ended; a failure shows the end of the logs of the programs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        runs = instance.get_runs()
        if runs and runs[-1].is_finished:
            return runs[-1]
        threading.Event().wait(0.3)
    logs = {file.name: file.read_text()[-2000:] for file in desk.journey.folder.glob("*.log")}
    pytest.fail(f"no run ended: {instance.get_runs()}, {logs}")


def in_february(desk: Desk) -> None:
    desk.journey.store.clock.set(datetime(2026, 2, 10, 9, tzinfo=UTC))


def test_command_line_materialises_one_partition(desk: Desk):
    in_february(desk)
    desk.journey.family(1)
    fetched = materialize(desk, "--select", "legacy/Artikel_Familie", "--partition", "2026-02-01")
    loaded = materialize(desk, "--select", "erp/products_parentproduct", "--partition", "2026-02-01")
    assert (fetched.returncode, loaded.returncode) == (0, 0), fetched.stderr + loaded.stderr
    assert "1 read, 1 inserted" in loaded.stderr
    assert desk.journey.skus() == ["1"]


def test_command_line_materialises_a_range(desk: Desk):
    in_february(desk)
    desk.journey.family(1)
    done = materialize(desk, "--select", BOTH, "--partition-range", "2026-01-01...2026-03-01")
    assert done.returncode == 0, done.stderr
    assert desk.journey.skus() == ["1"]
    with instance_of(desk) as instance:
        assert instance.get_materialized_partitions(FAMILIES) == {"2026-01-01", "2026-02-01", "2026-03-01"}


@pytest.mark.slow
def test_tables_side_by_side_in_processes_of_their_own(desk: Desk):
    in_february(desk)
    desk.journey.variant(7, desk.journey.family(1))
    both = f"{BOTH},legacy/Artikel_Variante,erp/products_variantproduct"
    config = '{"execution": {"config": {"processes": 2}}}'
    done = materialize(desk, "--select", both, "--partition", "2026-02-01", "--config-json", config)
    assert done.returncode == 0, done.stderr
    assert "Multiprocess executor" in done.stderr
    assert (desk.journey.skus(), desk.journey.skus(VARIANTS)) == (["1"], ["7"])


def test_range_takes_tables_without_partitions_along(desk: Desk):
    desk.journey.remap(PARENTS, partitions={"type": "none"})
    _ = desk.definitions  # writes the mappings
    in_february(desk)
    desk.journey.variant(7, desk.journey.family(1))
    both = f"{BOTH},legacy/Artikel_Variante,erp/products_variantproduct"
    done = materialize(desk, "--select", both, "--partition-range", "2026-01-01...2026-03-01")
    assert done.returncode == 0, done.stderr
    assert (desk.journey.skus(), desk.journey.skus(VARIANTS)) == (["1"], ["7"])


def test_one_command_brings_everything(desk: Desk):
    desk.journey.remap(PARENTS, partitions={"type": "key_range", "buckets": 4})
    _ = desk.definitions  # writes the mappings
    desk.journey.variant(7, desk.journey.family(1))
    command = dagster("dagster", "job", "execute", *MODULE, "-j", "sync_everything")
    done = subprocess.run(command, cwd=desk.journey.folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (desk.journey.skus(), desk.journey.skus(VARIANTS)) == (["1"], ["7"])


def test_command_line_says_what_where_and_next_without_our_traceback(desk: Desk):
    desk.journey.execute("drop table products_parentproduct cascade")
    done = materialize(desk, "--select", BOTH, "--partition", "2026-02-01")
    assert done.returncode == 1
    assert 'Failure: the ERP has no table "products_parentproduct"\n  where: preflight' in done.stderr
    assert "\n  next:  " in done.stderr
    assert "legacy_sync/errors.py" not in done.stderr
    assert "legacy_sync/sync/" not in done.stderr


@pytest.mark.slow
def test_daemon_runs_what_the_sensor_finds(desk: Desk):
    desk.journey.family(1)
    with instance_of(desk, QUICK) as instance:
        started = subprocess.run(
            dagster("dagster", "sensor", "start", "legacy_changes", *MODULE),
            cwd=desk.journey.folder,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert started.returncode == 0, started.stderr
        with running(desk, dagster("dagster-daemon", "run", *MODULE)):
            run = wait_for_run(desk, instance)
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert run.tags["legacy_sync/started_by"] == "sensor legacy_changes"
        assert instance.get_latest_materialization_event(FAMILIES) is not None
    assert desk.journey.skus() == ["1"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")  # Dagster's client, not ours
def test_web_server_launches_a_range(desk: Desk):
    in_february(desk)
    desk.journey.family(1)
    with instance_of(desk, DIRECT) as instance:
        port = free_port()
        with running(desk, dagster("dagster-webserver", *MODULE, "-h", "127.0.0.1", "-p", str(port))) as process:
            client = client_of(process, port)
            client.submit_job_execution(
                "__ASSET_JOB",
                repository_location_name="legacy_sync.definitions",
                repository_name="__repository__",
                tags={RANGE_START: "2026-01-01", RANGE_END: "2026-03-01"},
                asset_selection=[FAMILIES_TABLE, FAMILIES],
            )
            run = wait_for_run(desk, instance)
        assert run.status == dg.DagsterRunStatus.SUCCESS
    assert desk.journey.skus() == ["1"]


def client_of(process: subprocess.Popen[bytes], port: int) -> DagsterGraphQLClient:
    """A client of the web server, as soon as that listens."""
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return DagsterGraphQLClient("127.0.0.1", port_number=port)
        threading.Event().wait(0.3)
    pytest.fail("the web server does not answer")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
