"""What does a run work with? Settings, mappings, sources and the ERP database, each opened when first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from legacy_sync.erp.catalog import ErpTable, find_table, list_tables
from legacy_sync.erp.database import connect, translated
from legacy_sync.erp.rights import find_missing_rights
from legacy_sync.errors import AbortRun, ErpRefused, Problem, RetryLater, SchemaDrift
from legacy_sync.ledger.runs import get_entity_id
from legacy_sync.ledger.schema import migrate
from legacy_sync.ledger.seen_tables import find_seen, note_seen
from legacy_sync.mapping.drift import find_last_seen, find_retyped, tell_changes, types_of
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.maintenance import find_end
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.preflight import check_mapping
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.settings import Settings, mask_url
from legacy_sync.sources.base import Source, TableInfo
from legacy_sync.sources.landing import Landing
from legacy_sync.sources.registry import landing_folder, open_source

logger = logging.getLogger(__name__)


@dataclass
class Workspace:
    """What every run needs: settings, mappings, the landing of 4D's rows, and sources opened once each.

    Safe to share between threads: each load has a connection of its own.
    """

    settings: Settings
    project: Project
    landing: Landing
    _sources: dict[str, Source] = field(default_factory=dict)
    _opening: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def source(self, name: str) -> Source:
        """The source of that name, opened when first asked for."""
        with self._opening:
            if name not in self._sources:
                _warn_of_maintenance(self.project.sources[name])
                self._sources[name] = open_source(self.project.sources[name], self.settings)
            return self._sources[name]

    def landing_of(self, mapping: Mapping) -> Landing:
        """Where the rows of a mapping's source lie; each source has a folder of its own."""
        name = mapping.source.server
        if name == FOUR_D:
            return self.landing
        return self.landing.beside(landing_folder(self.project.sources[name]))

    @contextmanager
    def erp(self) -> Iterator[psycopg.Connection]:
        """A connection to the ERP database with an up-to-date ledger."""
        url = self.settings.require_erp_url()
        with connect(url, self.project.erp) as connection, translated(f"ERP database {mask_url(url)}"):
            migrate(connection)
            yield connection

    def close(self) -> None:
        """Gives sessions of the sources back."""
        for source in self._sources.values():
            source.close()
        self._sources.clear()


def open_workspace(settings: Settings, project: Project) -> Workspace:
    """A workspace for these settings and mappings; nothing is contacted yet."""
    return Workspace(settings, project, Landing(settings.landing, settings.server_name))


def preflight(
    workspace: Workspace, mappings: Sequence[Mapping], *, accept: bool = False, remember: bool = True
) -> None:
    """Checks the mappings against both live catalogs, and the legacy one against what it was; raises SchemaDrift.

    The error has every problem; rights that are missing in the ERP database are an ErpRefused. `accept`: a person says
    that columns of another type are as they should be.
    `remember`: the legacy tables are noted as they are now, if nothing stops their mappings.
    A source that cannot be asked raises its own error, unless there are others: they go on, and the run of its
    own entities will say what is wrong with it.
    """
    with workspace.erp() as connection:
        catalogs = _describe(workspace, [mapping.source.server for mapping in mappings])
        problems = [
            problem
            for mapping in mappings
            for problem in _check(workspace, connection, mapping, catalogs[mapping.source.server], accept, remember)
        ]
        missing = [] if problems else [p for mapping in mappings for p in find_missing_rights(connection, mapping)]
    if problems:
        raise _together(SchemaDrift, problems)
    if missing:
        raise _together(ErpRefused, missing)


def _together(kind: type[AbortRun], problems: Sequence[Problem]) -> AbortRun:
    first, *others = problems
    return kind(first.what, where=first.where, next_step="\n".join([first.next_step, *map(str, others)]))


def _check(
    workspace: Workspace,
    connection: psycopg.Connection,
    mapping: Mapping,
    catalog: dict[str, TableInfo] | None,
    accept: bool,
    remember: bool,
) -> list[Problem]:
    """The problems of one mapping; a legacy table that has none is remembered, and its changes are told."""
    entity_id = get_entity_id(connection, mapping.entity)
    name = mapping.source.table
    table = catalog.get(name) if catalog else None
    now = types_of(table, workspace.project.sources[mapping.source.server].kind) if table else {}
    seen = find_seen(connection, entity_id, name) if table else None
    gone = find_last_seen(seen, now) if seen else {}
    problems = check_mapping(
        mapping, catalog, lambda name: find_table(connection, name), lambda: list_tables(connection), gone
    )
    if seen and not accept:
        problems += find_retyped(mapping, seen, now)
    if table and remember and not problems:
        if seen and (changes := tell_changes(mapping, seen, now)):
            logger.warning("%s: %s", mapping.entity, changes)
        note_seen(connection, entity_id, name, now)
    return problems


def _describe(workspace: Workspace, names: Sequence[str]) -> dict[str, dict[str, TableInfo] | None]:
    """The catalog of each source; None for one that cannot be asked while others can. Without 4D nothing goes on."""
    catalogs: dict[str, dict[str, TableInfo] | None] = {}
    for name in dict.fromkeys(names):
        try:
            catalogs[name] = workspace.source(name).describe()
        except (AbortRun, RetryLater) as error:
            if name == FOUR_D or len(set(names)) == 1:
                raise
            logger.warning("the source %s was not checked: %s (%s)", name, error.what, error.where)
            catalogs[name] = None
    return catalogs


def _warn_of_maintenance(spec: SourceSpec) -> None:
    """Sensors and schedules wait; what a person starts meanwhile is allowed."""
    if end := find_end(spec.options.maintenance, datetime.now(UTC)):
        text = "the source %s is in maintenance until %s: reading it now may fail or disturb"
        logger.warning(text, spec.name, f"{end:%Y-%m-%d %H:%M %Z}")


def require_table(connection: psycopg.Connection, mapping: Mapping) -> ErpTable:
    """The ERP table of a mapping; raises ErpRefused if it is not there."""
    table = find_table(connection, mapping.target.table)
    if table is None or len(table.primary_key) != 1:
        problem = "does not exist" if table is None else "has no primary key of one column"
        raise ErpRefused(
            f'the ERP table "{mapping.target.table}" {problem}',
            where=f"mapping {mapping.entity}, ERP database",
            next_step="run pyERP's migrations, or correct `target.table`",
        )
    return table
