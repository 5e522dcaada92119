"""How do the log lines of the sync get into the event log of a run?"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

LOGGER = "legacy_sync"
Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext


class _EventLog(logging.Handler):
    """Passes records on to the log of a run."""

    def __init__(self, context: Context) -> None:
        super().__init__(logging.INFO)
        self._log = context.log

    def emit(self, record: logging.LogRecord) -> None:
        """One record is one event."""
        self._log.log(record.levelno, record.getMessage())


@contextmanager
def logged_to_dagster(context: Context) -> Iterator[None]:
    """Inside, lines of the sync are events of the run; where dagster.yaml says so already, nothing is added."""
    if {LOGGER, "root"} & set(context.op_execution_context.instance.managed_python_loggers):
        yield
        return
    logger = logging.getLogger(LOGGER)
    handler = _EventLog(context)
    level = logger.level
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
