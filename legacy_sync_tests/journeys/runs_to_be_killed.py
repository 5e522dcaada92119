"""Runs one after the other, in processes that are made in a moment, to be killed; see chaos_setup.py.

Each line on stdin makes a process that runs all entities again and again, and whose number is told on stdout.
"""

import os
import signal
import sys
import time

from legacy_sync.errors import LegacySyncError
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings
from legacy_sync.sync.pipeline import open_workspace, run_entity


def run_for_ever() -> None:
    """Every failure is told and followed by the next run."""
    settings = read_settings()
    workspace = open_workspace(settings, load_project(settings))
    while True:
        for mapping in workspace.project.ordered():
            try:
                report = run_entity(workspace, mapping)
            except LegacySyncError as error:
                print(mapping.entity, type(error).__name__, error.what, file=sys.stderr, flush=True)
                time.sleep(0.1)
            else:
                for why, times in report.repeated.items():
                    print(mapping.entity, "again", times, why, file=sys.stderr, flush=True)


def main() -> None:
    """Make what is asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for _ in sys.stdin:
        if pid := os.fork():
            print(pid, flush=True)
        else:
            run_for_ever()


if __name__ == "__main__":
    main()
