"""Fetches and loads everything, as a process of its own that tells each step on stdout; see test_kill.py."""

import sys
from datetime import UTC, datetime

from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings
from legacy_sync.sync.pipeline import fetch_table, load_entity, open_workspace, run_entity


def tell(*words: object) -> None:
    """One line, at once."""
    print(*words, datetime.now(UTC).time(), flush=True)


def main() -> None:
    """One run over all entities."""
    settings = read_settings()
    workspace = open_workspace(settings, load_project(settings))
    tell("ready")
    for mapping in workspace.project.ordered():
        if sys.argv[1:] == ["together"]:
            run_entity(workspace, mapping, progress=tell)
            continue
        fetch_table(workspace, mapping, progress=tell)
        load_entity(workspace, mapping, progress=tell, on_commit=tell)
    workspace.close()


if __name__ == "__main__":
    sys.exit(main())
