"""Which rights does the database user of the sync need? `legacy-sync grants`."""

from __future__ import annotations

from typing import Annotated

import typer

from legacy_sync.cli.shell import JsonOption, opened_settings, print_json

RoleOption = Annotated[str, typer.Option("--role", help="The database user of the sync.")]


UndoOption = Annotated[
    bool,
    typer.Option("--undo", help="Also what `undo` needs: deleting rows that the sync inserted, reading around them."),
]


def grants(role: RoleOption = "legacy_sync", undo: UndoOption = False, as_json: JsonOption = False) -> None:
    """Print the SQL that gives a database user what the mappings need, and nothing else; nothing is changed."""
    with opened_settings() as settings:
        from legacy_sync.erp.database import connect
        from legacy_sync.erp.grants import list_grants
        from legacy_sync.mapping.loader import load_project

        project = load_project(settings)
        with connect(settings.require_erp_url()) as connection:
            statements = list_grants(connection, project.mappings.values(), role, undo=undo)
            database = connection.info.dbname
    if as_json:
        print_json({"role": role, "database": database, "statements": statements})
        return
    count = len(project.mappings)
    print(f"-- What {count} mappings need in the database {_in_line(database)}; to be run in psql, as a superuser.")
    print("-- Rights that the role has beside these in the schemas of the mapped tables are taken away.")
    print("begin;")
    for statement in statements:
        print(f"{statement};")
    print("commit;")
    print(f"-- A new role has no password yet: \\password {_in_line(role)}")


def _in_line(text: str) -> str:
    return " ".join(text.split())
