"""What has happened in the stand-in's 4D so far? Its rows live in memory; this makes them again after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from legacy_sync.demo.four_d_server import Store
from legacy_sync.demo.sample_data import build_store, change_some
from legacy_sync.demo.state import DemoFolder, write_private

Action = Callable[[Store, int], Mapping[str, object]]


@dataclass
class Past:
    """How the rows were made and what was done to them since; the same past gives the same rows."""

    seed: int
    families: int
    variants: int
    today: date
    steps: list[dict[str, Any]] = field(default_factory=list)
    """{"at": time, "seed": of change_some} or {"at": time, "table": …, "update": {key: values}}"""
    port: int = 0

    @classmethod
    def find(cls, folder: DemoFolder) -> Past | None:
        """The past of an earlier start, or None."""
        try:
            said = json.loads((folder.root / "four_d.json").read_text(encoding="utf-8"))
            return cls(**{**said, "today": date.fromisoformat(said["today"])})
        except (FileNotFoundError, json.JSONDecodeError, TypeError, KeyError):
            return None

    def save(self, folder: DemoFolder) -> None:
        """Remember it for the next start."""
        text = json.dumps({**asdict(self), "today": self.today.isoformat()}, indent=2)
        write_private(folder.root / "four_d.json", text)

    def add(self, folder: DemoFolder, step: Mapping[str, Any]) -> str:
        """Remember one more step; to be called before it is done, so that a restart does it at the latest.

        Returns the time at which it has to be done by the clock of the stand-in.
        """
        at = datetime.now(UTC).isoformat()
        self.steps.append({"at": at, **step})
        self.save(folder)
        return at

    def begin(self) -> Store:
        """The rows as they were before all steps; the other systems were made from these."""
        return build_store(self.seed, self.families, self.variants, self.today)

    def catch_up(self, store: Store) -> None:
        """All steps, each done at its own time."""
        for step in self.steps:
            store.clock.freeze(datetime.fromisoformat(step["at"]))
            if "seed" in step:
                change_some(store, step["seed"])
            for key, values in step.get("update", {}).items():
                store.update(step["table"], key, values)
        store.clock.set(datetime.now(UTC))

    def actions(self) -> dict[str, Action]:
        """What the admin desk of the stand-in offers."""
        return {"change_some": lambda store, seed: asdict(change_some(store, seed))}
