"""Does an edited mapping take effect within a minute, in running programs, and does a broken one change nothing?"""

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_setup import READY, Cli, all_gone_afterwards, read_until
from journey_setup import PARENTS, Journey

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

A_MINUTE = 60.0
LOCATION = {"repositoryLocationName": "legacy_sync.definitions", "repositoryName": "__repository__"}
SCHEDULE = "sync_products"
RARELY, NEVER_MIND = "0 3 1 1 *", "30 4 1 1 *"
SETTLED = "the mappings in force are those of the files"


class Files:
    """The mapping files of a project, a word per line so that a line says something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for file in folder.rglob("*.json"):
            file.write_text(json.dumps(json.loads(file.read_text()), indent=1))

    def edit(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        file = self.folder / f"{name}.json"
        said = json.loads(file.read_text())
        change(said)
        file.write_text(json.dumps(said, indent=1))

    def line_of(self, name: str, word: str) -> int:
        lines = (self.folder / f"{name}.json").read_text().splitlines()
        return next(n for n, line in enumerate(lines, 1) if f'"{word}"' in line)


class Ui:
    """What the web server says, and does."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, text: str, **variables: Any) -> Any:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            answer = json.load(reply)
        assert "errors" not in answer, answer
        (value,) = answer["data"].values()
        return value

    def schedule(self) -> tuple[str, str]:
        """The cron line, and whether it is switched on."""
        found = self.ask(
            "query($s: ScheduleSelector!) {scheduleOrError(scheduleSelector: $s)"
            " {... on Schedule {cronSchedule scheduleState {status}}}}",
            s={**LOCATION, "scheduleName": SCHEDULE},
        )
        return found.get("cronSchedule", ""), found.get("scheduleState", {}).get("status", "")

    def switch_on(self) -> None:
        started = self.ask(
            "mutation($s: ScheduleSelector!) {startSchedule(scheduleSelector: $s) {__typename}}",
            s={**LOCATION, "scheduleName": SCHEDULE},
        )
        assert started["__typename"] == "ScheduleStateResult"

    def watch_said(self) -> str:
        """The last tick of `mappings_watch`."""
        found = self.ask(
            "query($s: SensorSelector!) {sensorOrError(sensorSelector: $s)"
            " {... on Sensor {sensorState {ticks(limit: 1) {status skipReason error {message}}}}}}",
            s={**LOCATION, "sensorName": "mappings_watch"},
        )
        ticks = found.get("sensorState", {}).get("ticks", [])
        return str(ticks[0]["skipReason"] or ticks[0]) if ticks else ""

    def launch(self) -> str:
        job = {**LOCATION, "pipelineName": SCHEDULE}
        launched = self.ask(
            "mutation($p: ExecutionParams!) {launchPipelineExecution(executionParams: $p)"
            " {__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}",
            p={"selector": job, "mode": "default", "runConfigData": {}},
        )
        return str(launched["run"]["runId"])

    def runs(self) -> dict[str, tuple[str, str]]:
        """Who started each run, and how it stands."""
        found = self.ask("{runsOrError {... on Runs {results {runId status tags {key value}}}}}")["results"]
        tags = {run["runId"]: {tag["key"]: tag["value"] for tag in run["tags"]} for run in found}
        return {r["runId"]: (tags[r["runId"]].get("legacy_sync/started_by", ""), r["status"]) for r in found}


def mend(said: dict[str, Any]) -> None:
    del said["scedule"]
    said["schedule"] = {"cron": NEVER_MIND}


def wait_for(what: str, is_so: Callable[[], object], seconds: float = A_MINUTE) -> None:
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:.0f} s"
        threading.Event().wait(0.5)
    print(f"{what}: {time.monotonic() - began:.1f} s")


@pytest.fixture
def files(journey: Journey) -> Files:
    """One project of families and variants, whose families have a schedule that hardly ever ticks."""
    journey.remap(PARENTS, schedule={"cron": RARELY})
    journey.family(1)
    _ = journey.workspace  # writes the mappings
    journey.close()
    return Files(journey.folder / "mappings")


@contextmanager
def running(cli: Cli, journey: Journey) -> Iterator[Ui]:
    """`legacy-sync up` for this project; nothing of it is left afterwards."""
    cli.environment = journey.environ
    process = cli.start("up", "--port", "4300")
    said = read_until(process, READY)
    with all_gone_afterwards(process, cli.folder):
        try:
            yield Ui(next(line.split()[1] for line in said.splitlines() if line.startswith("Dagster")))
        finally:
            process.send_signal(signal.SIGINT)


def test_edits_take_effect_within_a_minute_and_broken_ones_change_nothing(
    bare_cli: Cli, journey: Journey, files: Files
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def hold(table: str, number: int) -> None:
        asked.set()
        answered.wait(120)

    with running(bare_cli, journey) as ui:
        ui.switch_on()
        assert ui.schedule() == (RARELY, "RUNNING")
        journey.server.on_data_request = hold
        under_way = ui.launch()
        assert asked.wait(60)

        files.edit(PARENTS, lambda said: said.update(schedule={"every": "1m"}))
        wait_for("a new rhythm", lambda: ui.schedule() == ("* * * * *", "RUNNING"))
        answered.set()
        wait_for("the run from before ends well", lambda: ui.runs()[under_way][1] == "SUCCESS")

        files.edit(PARENTS, lambda said: said.update(scedule=said.pop("schedule")))
        wait_for("a broken edit is told", lambda: 'unknown word "scedule"' in ui.watch_said())
        line = files.line_of(PARENTS, "scedule")
        assert f"where: mappings/{PARENTS}.json:{line}, scedule\n  next:  did you mean" in ui.watch_said()
        assert "stay in force" in ui.watch_said()
        assert ui.schedule() == ("* * * * *", "RUNNING")
        while_broken = ui.launch()
        wait_for("a run starts while files are broken", lambda: ui.runs()[while_broken][1] == "SUCCESS")
        wait_for(
            "the daemon ticks in the new rhythm", lambda: (f"schedule {SCHEDULE}", "SUCCESS") in ui.runs().values(), 90
        )

        files.edit(PARENTS, mend)
        wait_for("a mended edit", lambda: ui.schedule() == (NEVER_MIND, "RUNNING"))

        overlay = {PARENTS: {"schedule": {"every": "1h"}}}
        files.edit("environments/journey", lambda said: said.update(entities=overlay))
        wait_for("an overlay", lambda: ui.schedule() == ("0 * * * *", "RUNNING"))
        wait_for("nothing is left to load", lambda: ui.watch_said() == SETTLED)
    assert journey.skus() == ["1"]
