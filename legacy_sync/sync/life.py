"""What is the life of one record: where it is, who touched it when, what both sides say now, and what waits?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.database import translated
from legacy_sync.erp.row import find_keys, find_row
from legacy_sync.errors import RowNotFound
from legacy_sync.ledger import history, runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.landing import LandedFetch, Landing
from legacy_sync.sync.windows import BESIDE_ROWS
from legacy_sync.sync.workspace import Workspace, require_table

_FETCHES = 20
_NEAR = 5


@dataclass
class Life:
    """Everything known of one record."""

    entity: str
    legacy_key: str
    erp_table: str
    erp_key: str | None
    is_there: bool
    """whether the ERP has the row now"""
    binding: dict[str, Any] | None
    values: list[dict[str, Any]] = field(default_factory=list)
    """for each mapped column: `legacy` as last taken in, `erp` now, `agreed` as both sides last agreed on in the ERP"""
    events: list[dict[str, Any]] = field(default_factory=list)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    parents: list[dict[str, Any]] = field(default_factory=list)
    landed: list[dict[str, Any]] | None = None
    """the newest fetches that have it, newest first; None where finding it would be costly"""

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


def read_life(workspace: Workspace, mapping: Mapping, key: str, *, is_erp_key: bool = False) -> Life:
    """The life of one record by its legacy key, or by the key of its ERP row; raises RowNotFound with near ones."""
    with translated(f"life of {mapping.entity} {key}"), workspace.erp() as connection:
        return _Reader(workspace, mapping, connection).read(key, is_erp_key=is_erp_key)


class _Reader:
    """One look at the ledger, the ERP and the landing."""

    def __init__(self, workspace: Workspace, mapping: Mapping, connection: psycopg.Connection) -> None:
        self.workspace = workspace
        self.mapping = mapping
        self.connection = connection
        self.table = require_table(connection, mapping)
        self.entity_id = runs.get_entity_id(connection, mapping.entity)

    def read(self, asked: str, *, is_erp_key: bool) -> Life:
        """Puts everything together."""
        key = history.find_key(self.connection, self.entity_id, asked) if is_erp_key else asked
        binding = history.find_binding(self.connection, self.entity_id, key) if key else None
        parked = history.list_parked(self.connection, self.entity_id, key) if key else []
        if key is None or not (binding or parked):
            raise self._not_found(asked, is_erp_key=is_erp_key)
        erp_key = binding["erp_key"] if binding else None
        row = find_row(self.connection, self.table, erp_key) if erp_key else None
        life = Life(self.mapping.entity, key, self.table.name, erp_key, row is not None, binding)
        if binding:
            life.values = _values(binding, row)
        life.events = history.list_events(self.connection, self.entity_id, key, self.table.name, erp_key)
        life.quarantine = parked
        life.conflicts = history.list_conflicts(self.connection, self.entity_id, key)
        life.parents = self._parents(row or {})
        life.landed = self._landed(key)
        return life

    def _not_found(self, asked: str, *, is_erp_key: bool) -> RowNotFound:
        near = history.find_near(self.connection, self.entity_id, asked, _NEAR)
        names = self.mapping.target.natural_key
        rows = find_keys(self.connection, self.table, names, asked)
        for erp_key in rows:
            key = history.find_key(self.connection, self.entity_id, erp_key)
            near += [f"{key} (its {' or '.join(names)} is {asked})"] if key else []
        what = f"no record is the ERP row {asked}" if is_erp_key else f'no record has the key "{asked}"'
        step = f"try one of: {', '.join(near[: 2 * _NEAR])}" if near else "`legacy-sync export bindings` lists all keys"
        if is_erp_key and find_row(self.connection, self.table, asked):
            step = "nothing: the row is in the ERP, but no record of 4D; it was made there"
        return RowNotFound(what, where=f"ledger, entity {self.mapping.entity}", next_step=step)

    def _parents(self, row: dict[str, str | None]) -> list[dict[str, Any]]:
        """The rows it refers to, each with the record it came from."""
        found = []
        for name, rule in self.mapping.fields.items():
            erp_key = row.get(name)
            if not rule.reference or erp_key is None:
                continue
            owners = [m for m in self.workspace.project.mappings.values() if m.target.table == rule.reference.to]
            keys = {
                m.entity: key
                for m in owners
                if (key := history.find_key(self.connection, runs.get_entity_id(self.connection, m.entity), erp_key))
            }
            entity = next(iter(keys), None)
            found.append(
                {
                    "column": name,
                    "table": rule.reference.to,
                    "erp_key": erp_key,
                    "entity": entity,
                    "legacy_key": keys.get(entity or ""),
                }
            )
        return found

    def _landed(self, key: str) -> list[dict[str, Any]] | None:
        """The newest fetches that have a copy; only where the key is an attribute as it stands."""
        source = self.mapping.source
        if len(source.key) != 1 or source.key_cast:
            return None
        landing = self.workspace.landing_of(self.mapping)
        partitions = [p for p in landing.partitions(source.table) if p not in BESIDE_ROWS]
        fetches = [fetch for partition in partitions for fetch in landing.fetches(source.table, partition)]
        fetches.sort(key=lambda fetch: fetch.fetch_id, reverse=True)
        return [
            {
                "fetch": fetch.fetch_id,
                "partition": fetch.partition,
                "mode": fetch.mode,
                "server_time": fetch.server_time,
            }
            for fetch in islice(fetches, _FETCHES)
            if _has(landing, fetch, source.key[0], key)
        ]


def _has(landing: Landing, fetch: LandedFetch, attribute: str, key: str) -> bool:
    for batch in landing.read(fetch, [attribute]):
        if attribute not in batch.schema.names:
            return False
        texts: pa.Array = batch.column(attribute).cast(pa.string())
        if pc.any(pc.equal(texts, key)).as_py():
            return True
    return False


def _values(binding: dict[str, Any], row: dict[str, str | None] | None) -> list[dict[str, Any]]:
    columns: Sequence[str] = binding.pop("columns")
    base: Sequence[str | None] = binding.pop("base")
    agreed: Sequence[str | None] = binding.pop("erp_base") or base
    return [
        {"column": column, "legacy": legacy, "erp": row.get(column) if row else None, "agreed": there}
        for column, legacy, there in zip(columns, base, agreed, strict=True)
    ]
