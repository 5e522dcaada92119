"""What did a whole process cost? Wall time, CPU of its tree, CPU of PostgreSQL meanwhile, and the most memory.

Wall time means little on a machine that others use, so each cost says how much CPU others took meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.02
_QUIET_SHARE = 0.3
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """Seconds from start to exit, CPU seconds of the process tree and of PostgreSQL, peak of the summed RSS.

    `others_cpu` is what the rest of the machine took in that time, the stand-in server included.
    """

    wall: float
    cpu: float
    postgres_cpu: float
    peak_mb: float
    others_cpu: float


@dataclass(frozen=True)
class Ended:
    """A process that ended."""

    cost: Cost
    exit_code: int
    stdout: str
    stderr: str


def measured(command: Sequence[str], environment: Mapping[str, str], folder: Path, postmaster: int) -> Ended:
    """Runs a command to its end; interpreter start, imports and log-in count."""
    out, err = folder / "stdout", folder / "stderr"
    before, busy_before = _tree_cpu(postmaster), _busy()[0]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        with _Memory(process.pid) as memory:
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    cpu, postgres_cpu = used.ru_utime + used.ru_stime, _tree_cpu(postmaster) - before
    others = max(0.0, _busy()[0] - busy_before - cpu - postgres_cpu)
    cost = Cost(wall, cpu, postgres_cpu, memory.peak / 1e6, others)
    return Ended(cost, process.returncode, out.read_text("utf-8", "replace"), err.read_text("utf-8", "replace"))


def wait_for_quiet(patience: float) -> None:
    """Returns when the machine is mostly idle, or after so many seconds anyway."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        busy, idle = _busy()
        time.sleep(0.25)
        busy, idle = _busy()[0] - busy, _busy()[1] - idle
        if busy < _QUIET_SHARE * (busy + idle):
            return


def _busy() -> tuple[float, float]:
    """CPU seconds of the whole machine since it started: at work, idle."""
    fields = [int(f) / _TICKS for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, idle


class _Memory:
    """Watches a process and its descendants; `peak` is the largest sum of resident memory that was seen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(map(_resident, _tree(self.pid))))


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # it ended while we looked
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _tree_cpu(postmaster: int) -> float:
    """CPU seconds of the server so far: of the living, and of the ended ones their parent has counted."""
    ticks = 0
    for pid in _tree(postmaster):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15] if pid == postmaster else fields[11:13]))
    return ticks / _TICKS
