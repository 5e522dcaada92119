"""What do people do between two imports? A day's work in 4D and in the ERP, with what must come of it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from legacy_sync.demo.past import Past
from legacy_sync.demo.state import DemoFolder

ENTITY = "products_parentproduct"
FAMILIES = "Artikel_Familie"
IMPORTED = (FAMILIES, "Artikel_Variante")
"""the legacy tables that the demo looks at; people work in all of them"""


@dataclass(frozen=True)
class Edit:
    """One product family that a clerk edits in the ERP, and perhaps somebody else in 4D.

    `expected` are the ERP's values after the next import; a conflict is open for `disputed`.
    """

    story: str
    erp: dict[str, str]
    legacy: dict[str, str]
    expected: dict[str, str]
    disputed: str | None = None


EDITS = (
    Edit(
        "a description edited in the ERP",
        erp={"description": "Von Hand bemalt, aus unserer Werkstatt."},
        legacy={},
        expected={"description": "Von Hand bemalt, aus unserer Werkstatt."},
    ),
    Edit(
        "keywords set in the ERP, a column that 4D does not know",
        erp={"keywords": "zinn, sammler"},
        legacy={},
        expected={"keywords": "zinn, sammler"},
    ),
    Edit(
        "different columns of one row changed on both sides",
        erp={"short_description": "Limitierte Auflage"},
        legacy={"Bezeichnung_ENG": "Limited edition figure"},
        expected={"short_description": "Limitierte Auflage", "name_en": "Limited edition figure"},
    ),
    Edit(
        "the same column changed on both sides",
        erp={"name_en": "Name from the ERP"},
        legacy={"Bezeichnung_ENG": "Name from 4D"},
        expected={"name_en": "Name from the ERP"},
        disputed="name_en",
    ),
)


@dataclass(frozen=True)
class Day:
    """What was done in the imported tables: the rows 4D touched, and each edit with its row's legacy and ERP key."""

    edited: int
    arrived: tuple[str, ...]
    """families and variants that the next import must bring: new ones and a repaired one"""
    edits: tuple[tuple[Edit, str, int], ...]


def work_a_day(folder: DemoFolder, api_url: str, connection: psycopg.Connection, seed: int) -> Day:
    """Changes rows on both sides; the ERP's are committed."""
    past = Past.find(folder)
    assert past is not None  # the host has saved it before it said its address
    done = happen(folder, past, api_url, "actions/change_some", {"seed": seed})
    edited = [key for table in IMPORTED for key in done["edited"][table]]
    inserted = [key for table in IMPORTED for key in done["inserted"][table]]
    touched = {*edited, *inserted}
    rows = _untouched_families(connection, touched, len(EDITS))
    edits = tuple((edit, key, row) for edit, (key, row) in zip(EDITS, rows, strict=True))
    for edit, key, row in edits:
        if edit.legacy:
            happen(folder, past, api_url, "rows", {"table": FAMILIES, "update": {key: edit.legacy}})
        _edit_in_erp(connection, row, edit.erp)
    single = [done[name] for name in ("arrived", "fixed") if done[name]]
    return Day(len(edited), (*inserted, *single), edits)


def happen(folder: DemoFolder, past: Past, api_url: str, action: str, step: dict[str, Any]) -> Any:
    """Something is done in 4D at the very time that is remembered, so that a restart makes the same rows."""
    at = past.add(folder, step)
    ask_admin(api_url, "clock", {"freeze": at})
    try:
        return ask_admin(api_url, action, step)
    finally:
        ask_admin(api_url, "clock", {"set": datetime.now(UTC).isoformat()})


def ask_admin(api_url: str, action: str, body: dict[str, Any] | None = None) -> Any:
    """The answer of the stand-in's admin desk."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{api_url}/__admin/{action}", data, method="GET" if body is None else "POST")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def _untouched_families(connection: psycopg.Connection, touched: set[str], count: int) -> Sequence[tuple[str, int]]:
    rows = connection.execute(
        "select b.legacy_key, b.erp_key::bigint from legacy_sync.binding b"
        " join legacy_sync.entity e on e.id = b.entity_id"
        " where e.name = %s and not b.legacy_key = any(%s) order by b.legacy_key limit %s",
        [ENTITY, list(touched), count],
    )
    return rows.fetchall()


def _edit_in_erp(connection: psycopg.Connection, row: int, values: dict[str, str]) -> None:
    """As pyERP saves a form: the columns, and the time of the change."""
    columns = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
    connection.execute(
        sql.SQL("update products_parentproduct set {}, updated_at = now() where id = %s").format(columns),
        [*values.values(), row],
    )
