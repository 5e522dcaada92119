"""How far is a stage? Log lines every few seconds, and every step to a progress bar."""

from __future__ import annotations

import logging
import time

from legacy_sync.sync.report import Progress

logger = logging.getLogger(__name__)

_LOG_EVERY_SECONDS = 5.0


class Pace:
    """Says how far a stage is: at most one log line every few seconds, and every step to a progress bar."""

    def __init__(self, label: str, stage: str, progress: Progress | None) -> None:
        self.label = label
        self.stage = stage
        self.progress = progress
        self.began = self.logged = time.monotonic()

    def __call__(self, done: int, total: int | None, *, last: bool = False) -> None:
        """Report `done` of `total` rows."""
        if self.progress:
            self.progress(self.stage, done, total)
        now = time.monotonic()
        if now - self.logged >= _LOG_EVERY_SECONDS and not last:
            self.logged = now
            of = f" of {total:,}" if total else ""
            logger.info("%s %s%s rows (%s rows/s)", self.label, f"{done:,}", of, f"{done / (now - self.began):,.0f}")
