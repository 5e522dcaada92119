"""How are the demo's servers started and ended? One host process for PostgreSQL and stand-ins, others tied to us."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from legacy_sync.demo.state import DemoFolder, Servers, private
from legacy_sync.errors import EntityBusy, ErpUnavailable

_STOP_SECONDS = 8


@dataclass(frozen=True)
class Sample:
    """How many rows the stand-in's 4D has, and from which seed."""

    seed: int = 1
    families: int = 1600
    variants: int = 4300

    @property
    def arguments(self) -> list[str]:
        """The same, for the host."""
        return [f"--seed={self.seed}", f"--families={self.families}", f"--variants={self.variants}"]


@contextmanager
def hosted(
    folder: DemoFolder, sample: Sample, *, four_d: bool = True, fresh: bool = False, keep: bool = False
) -> Iterator[Servers]:
    """PostgreSQL with both databases, and if wanted the stand-ins for 4D and the systems beside it.

    They end afterwards unless `keep` is set. Raises EntityBusy if they run already.
    """
    folder.make()
    command = [sys.executable, "-m", "legacy_sync.demo.host", f"--folder={folder.root}", *sample.arguments]
    flags = {"--four-d": four_d, "--fresh": fresh, "--detached": keep}
    command += [flag for flag, wanted in flags.items() if wanted]
    with open(folder.logs / "host.log", "ab", opener=private) as log:
        host = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if keep else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
    ended_well = False
    try:
        yield _ready(host, folder)
        ended_well = True
    finally:
        if not (keep and ended_well):
            _end_host(host)


def _ready(host: subprocess.Popen[bytes], folder: DemoFolder) -> Servers:
    assert host.stdout is not None  # it is a pipe
    with host.stdout:
        line = host.stdout.readline()  # it says no more than that
    said = json.loads(line) if line else {}
    if "busy" in said:
        url = f" at {said['busy']}" if said["busy"] else ""
        raise EntityBusy(
            f"the demo servers run already{url}",
            where=str(folder.root),
            next_step="use them, or end them first: Ctrl-C where they were started, or `legacy-sync demo --stop`",
        )
    if "error" in said:
        error = said["error"]
        raise ErpUnavailable(error["what"], where=error["where"], next_step=error["next_step"])
    if not said:
        raise _died("the demo servers", folder.logs / "host.log")
    return Servers(**said)


def _end_host(host: subprocess.Popen[bytes]) -> None:
    if host.stdin is not None:
        host.stdin.close()
    host.send_signal(signal.SIGTERM)
    try:
        host.wait(_STOP_SECONDS * 2)
    except subprocess.TimeoutExpired:
        host.kill()
        host.wait()


def stop_kept(folder: DemoFolder) -> bool:
    """End servers that an earlier `demo --keep` left running; False if there are none."""
    servers = folder.find_servers()
    if servers is None or servers.starter is not None:
        return False
    os.kill(servers.host, signal.SIGTERM)
    while (lock := folder.lock()) is None:
        time.sleep(0.1)
    lock.close()
    return True


class Tied:
    """A program that ends with us, its own children included; its output goes to a file."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with open(log, "wb", opener=private) as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "legacy_sync.demo.tied", str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
                umask=0o077,
            )

    def check(self) -> None:
        """Raises ErpUnavailable with the end of its log if it died."""
        if self._process.poll() is not None:
            raise _died(self.name, self.log)

    def ask_to_end(self) -> None:
        """SIGTERM to it; its children are its own business as long as it is quick."""
        if self._process.poll() is None:
            self._process.terminate()

    def end(self, seconds: float = _STOP_SECONDS) -> None:
        """Wait for the end, then make sure that nothing of its group is left."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def find_port(wanted: int) -> int:
    """The wanted port of this machine, or the next one that is free."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EntityBusy(
        f"the ports {wanted} to {wanted + 99} are all taken", where="127.0.0.1", next_step="choose another with --port"
    )


def _died(name: str, log: Path) -> ErpUnavailable:
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    said = "\n         ".join(tail) or "nothing"
    return ErpUnavailable(f"{name} ended by itself; it said last: {said}", where=str(log), next_step="read that file")
