"""Where do pyERP's tables come from in the demo and the tests? In production pyERP owns them."""

from __future__ import annotations

from importlib.resources import files

import psycopg

_LOCK = 7_305_511_230_417_001


def create_erp_tables(connection: psycopg.Connection) -> None:
    """Create the ERP tables that are missing; running it again, or twice at once, changes nothing."""
    statements = files("legacy_sync.demo").joinpath("erp_tables.sql").read_text(encoding="utf-8")
    with connection.transaction():
        # "if not exists" alone still collides when two sessions create the same table in the same moment.
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute(statements.encode())
