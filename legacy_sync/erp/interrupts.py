"""What becomes of a running statement when its process is told to stop? PostgreSQL is told to end it, at once.

Ctrl-C arrives as KeyboardInterrupt, which psycopg knows; Dagster's cancel button arrives as an exception of its own,
at which psycopg would wait for the end of the statement. A process that dies without a word is noticed by PostgreSQL.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

logger = logging.getLogger(__name__)

_CANCEL_SECONDS = 5.0
# Not before PostgreSQL 14, and not on every system; there a statement whose process died goes on to its end.
NOTICE_OF_DEATH = """do $$ begin
  perform set_config('client_connection_check_interval', '2s', false);
exception when undefined_object or invalid_parameter_value then null; end $$"""


class InterruptibleConnection(psycopg.Connection[Any]):
    """A connection that ends its running statement, and itself, when something other than an error stops us."""

    def wait(self, *arguments: Any, **options: Any) -> Any:
        """Waits for PostgreSQL; an interruption of whatever kind ends what it is doing."""
        with ExitStack() as stack:
            stack.push(self._if_stopped)
            return super().wait(*arguments, **options)

    def _if_stopped(self, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
        if kind and not issubclass(kind, Exception | KeyboardInterrupt):
            self._give_up()

    def _give_up(self) -> None:
        if self.closed or self.info.transaction_status != TransactionStatus.ACTIVE:
            return
        try:
            self.cancel_safe(timeout=_CANCEL_SECONDS)
        except psycopg.Error as error:
            logger.warning("PostgreSQL could not be told to end the running statement: %s", error)
        finally:
            self.close()
