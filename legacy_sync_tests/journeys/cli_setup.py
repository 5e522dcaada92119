"""How do the tests type commands? In this process where that is enough, as a real program where it is not."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.settings import PROJECT_ROOT

PARENTS, VARIANTS = "products_parentproduct", "products_variantproduct"
READY = "Ctrl-C ends everything"
OURS = ("LEGACY_API_", "LEGACY_SYNC_", "ERP_DATABASE_URL", "DAGSTER_")


@dataclass
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """`legacy-sync` in a folder of its own, with these variables."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, **variables: str) -> Said:
        from legacy_sync.cli import app

        result = CliRunner().invoke(app, list(arguments), env={**self.environment, **variables})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return subprocess.Popen(
            [sys.executable, "-c", "from legacy_sync.cli import app; app()", *arguments],
            cwd=self.folder, env={**inherited, **self.environment}, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> Said:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return Said(process.returncode, out, err)


@pytest.fixture
def bare_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command with no servers set."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("legacy_sync")
    before = (logger.handlers, logger.level, logger.propagate)
    yield Cli(tmp_path)
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def cli(bare_cli: Cli, erp_url: str, four_d: FourDServer, landing_root: str) -> Cli:
    """The command with a stand-in 4D server, a fresh ERP database and the mappings of families and variants."""
    mappings = bare_cli.folder / "two_mappings"
    (mappings / "environments").mkdir(parents=True)
    for file in (PROJECT_ROOT / "mappings" / "environments").glob("*.yaml"):
        words = YAML(typ="safe").load(file)
        words["entities"] = {
            name: said for name, said in words.get("entities", {}).items() if name in (PARENTS, VARIANTS)
        }
        (mappings / "environments" / f"{file.stem}.json").write_text(json.dumps(words))
    for entity in (PARENTS, VARIANTS):
        shutil.copy(PROJECT_ROOT / "mappings" / f"{entity}.yaml", mappings)
    bare_cli.environment = {
        "LEGACY_API_URL": four_d.url,
        "ERP_DATABASE_URL": erp_url,
        "LEGACY_SYNC_LANDING": landing_root,
        "LEGACY_SYNC_MAPPINGS": str(mappings),
    }
    return bare_cli


# --- programs that run for long


def family_of(process: subprocess.Popen[str], folder: Path) -> list[psutil.Process]:
    """The process, its children, and the database servers of its folder."""
    servers = [p for p in psutil.process_iter() if any(str(folder) in word for word in words_of(p))]
    return [*psutil.Process(process.pid).children(recursive=True), *servers]


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What it has printed up to the line with the text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it ended and said: {''.join(lines)}")


@contextmanager
def all_gone_afterwards(process: subprocess.Popen[str], folder: Path) -> Iterator[None]:
    before = family_of(process, folder)
    assert before
    yield
    process.communicate()
    _, alive = psutil.wait_procs(before, timeout=25)
    assert [p.cmdline() for p in alive] == []
    assert [p for p in psutil.process_iter() if any(str(folder) in word for word in words_of(p))] == []
