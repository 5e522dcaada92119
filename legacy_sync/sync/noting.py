"""Who learns that a fetch failed? The ledger, so that every starter sees it; a fetch that went well ends it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from legacy_sync.errors import (
    EntityBusy,
    ErpRefused,
    ErpUnavailable,
    LedgerUnusable,
    LegacySyncError,
    SessionLimitReached,
    SourceUnavailable,
)
from legacy_sync.ledger import runs, troubles
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.fetch import readers_of
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

_AWAY = (SourceUnavailable, SessionLimitReached)
_NO_FAILED_FETCH = (EntityBusy, ErpUnavailable, ErpRefused, LedgerUnusable)
"""somebody else is at work, or there is no ledger that could be told"""


@contextmanager
def noted(workspace: Workspace, mappings: Sequence[Mapping], dagster_run_id: str | None = None) -> Iterator[None]:
    """The ledger keeps how the fetch in this block ended; a failure goes on upwards."""
    try:
        yield
    except LegacySyncError as error:
        if not isinstance(error, _NO_FAILED_FETCH):
            _note(workspace, mappings, error, dagster_run_id)
        raise
    with workspace.erp() as connection:
        readers = [reader.entity for mapping in mappings for reader in readers_of(workspace, mapping)]
        troubles.clear_fetch_failures(connection, readers)
        for source in {mapping.source.server for mapping in mappings}:
            troubles.end_outage(connection, source)


def note_source(workspace: Workspace, source: str, error: LegacySyncError | None) -> None:
    """The ledger keeps whether a source answers; what cannot be written down is only logged."""
    try:
        with workspace.erp() as connection:
            if error is None:
                troubles.end_outage(connection, source)
            else:
                troubles.note_outage(connection, source, str(error))
    except LegacySyncError as second:
        logger.warning("the ledger could not be told of the source %s: %s", source, second.what)


def _note(
    workspace: Workspace, mappings: Sequence[Mapping], error: LegacySyncError, dagster_run_id: str | None
) -> None:
    try:
        with workspace.erp() as connection:
            for mapping in mappings:
                troubles.note_fetch_failure(
                    connection,
                    runs.get_entity_id(connection, mapping.entity),
                    source=mapping.source.server,
                    failure=type(error).__name__,
                    message=str(error),
                    dagster_run_id=dagster_run_id,
                )
                if isinstance(error, _AWAY):
                    troubles.note_outage(connection, mapping.source.server, str(error))
    except LegacySyncError as second:
        logger.warning("a fetch failed and the ledger could not be told: %s", second.what)
