"""How does the demo tell its Dagster process what to import?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from legacy_sync.demo.state import DemoFolder, private
from legacy_sync.errors import ErpRefused, ErpUnavailable

_END_SECONDS = 5


class Imports:
    """A Dagster process that imports when told to; it ends with us, however we end."""

    def __init__(self, folder: DemoFolder) -> None:
        folder.make()
        self.log = folder.logs / "dagster.log"
        with open(self.log, "wb", opener=private) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "legacy_sync.demo.tied", str(os.getpid()),
                 sys.executable, "-m", "legacy_sync.demo.dagster_worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
                umask=0o077,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=_END_SECONDS)  # it ends when its input does
        self._process.terminate()
        try:
            self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def use(self, environment: Mapping[str, str]) -> None:
        """The variables to work with from now on."""
        self._order({"environment": dict(environment)})

    def run(self, *, full: bool) -> list[str]:
        """Materialise every asset, all rows or what has changed lately; returns Dagster's run ids."""
        self._order({"materialize": "full" if full else "recent"})
        assert self._process.stdout is not None  # it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise ErpUnavailable(
                "the Dagster process of the demo ended by itself", where=str(self.log), next_step="read the end of it"
            )
        answer: dict[str, Any] = json.loads(line)
        if answer["failed"]:
            raise ErpRefused(
                f"an import failed: {answer['failed'].splitlines()[0]}",
                where=f"Dagster run {answer['runs'][-1]}",
                next_step=f"read {self.log}",
            )
        return list(answer["runs"])

    def _order(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # it is a pipe
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            return  # the answer will be missing, and is asked for with a better message
