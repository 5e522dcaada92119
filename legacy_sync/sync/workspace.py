"""What does a run work with? Settings, mappings, sources and the ERP database, each opened when first needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from legacy_sync.erp.catalog import ErpTable, find_table, list_tables
from legacy_sync.erp.database import connect, translated
from legacy_sync.errors import ErpRefused, SchemaDrift
from legacy_sync.ledger.schema import migrate
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.preflight import check_mapping
from legacy_sync.settings import Settings, mask_url
from legacy_sync.sources.base import Source
from legacy_sync.sources.landing import Landing
from legacy_sync.sources.registry import open_source


@dataclass
class Workspace:
    """What every run needs: settings, mappings, the landing, and sources opened once each."""

    settings: Settings
    project: Project
    landing: Landing
    _sources: dict[str, Source] = field(default_factory=dict)

    def source(self, kind: str) -> Source:
        """The source of that kind, opened when first asked for."""
        if kind not in self._sources:
            self._sources[kind] = open_source(kind, self.settings, self.project.source_options.get(kind, {}))
        return self._sources[kind]

    @contextmanager
    def erp(self) -> Iterator[psycopg.Connection]:
        """A connection to the ERP database with an up-to-date ledger."""
        url = self.settings.require_erp_url()
        with connect(url) as connection, translated(f"ERP database {mask_url(url)}"):
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


def preflight(workspace: Workspace, mappings: Sequence[Mapping]) -> None:
    """Checks the mappings against both live catalogs; raises SchemaDrift with every problem."""
    with workspace.erp() as connection:
        problems = [
            problem
            for mapping in mappings
            for problem in check_mapping(
                mapping,
                workspace.source(mapping.source.server).describe(),
                lambda name: find_table(connection, name),
                lambda: list_tables(connection),
            )
        ]
    if problems:
        text = "\n".join(str(p) for p in problems[1:])
        raise SchemaDrift(
            problems[0].what, where=problems[0].where, next_step=problems[0].next_step + ("\n" + text if text else "")
        )


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
