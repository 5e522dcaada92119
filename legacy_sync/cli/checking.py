"""Do the mappings make sense, and do they fit both sides? `legacy-sync check`."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legacy_sync.cli.shell import (
    ABORTED,
    EntitiesArgument,
    JsonOption,
    console,
    exit_code,
    opened_settings,
    print_json,
    print_next,
    print_table,
    problems_of,
    show_error,
    show_problems,
)
from legacy_sync.cli.transport import Transport, of_erp, of_sources
from legacy_sync.errors import LegacySyncError, Problem

if TYPE_CHECKING:
    from legacy_sync.mapping.model import Mapping
    from legacy_sync.sync.workspace import Workspace


@dataclass
class _Finding:
    """What was found about one mapping."""

    mapping: Mapping
    file: Path
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "entity": self.mapping.entity,
            "file": str(self.file),
            "version": self.mapping.version,
            "problems": [asdict(problem) for problem in self.problems],
            "warnings": [asdict(warning) for warning in self.warnings],
        }


def check(
    entities: EntitiesArgument = None,
    offline: Annotated[bool, typer.Option("--offline", help="Look at the files only, contact no server.")] = False,
    write_schema: Annotated[
        bool, typer.Option("--write-schema", help="Also write the JSON Schemas for editors beside the mappings.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Do the mappings make sense, and do they fit 4D and the ERP as they are now?"""
    with opened_settings() as settings:
        from legacy_sync.mapping.loader import load_project
        from legacy_sync.mapping.schema import write_schemas
        from legacy_sync.sync.workspace import open_workspace

        if write_schema:
            written = write_schemas(settings.mappings / ".schema")
            console(stderr=True).print("written: " + ", ".join(map(str, written)), markup=False, soft_wrap=True)
        project = load_project(settings)
        findings = {m.entity: _Finding(m, project.files[m.entity]) for m in project.ordered(entities or None)}
        unreachable: list[LegacySyncError] = []
        transports: list[Transport] = []
        if not offline:
            with closing(open_workspace(settings, project)) as workspace:
                servers = dict.fromkeys(finding.mapping.source.server for finding in findings.values())
                transports += of_sources(settings, project, servers)
                unreachable = [*_check_legacy(workspace, findings), *_check_erp(workspace, findings, transports)]
    ok = not unreachable and not any(finding.problems for finding in findings.values())
    _show(findings, unreachable, transports, ok=ok, offline=offline, as_json=as_json)
    if not ok:
        raise typer.Exit(max([exit_code(error) for error in unreachable], default=ABORTED))


def _check_legacy(workspace: Workspace, findings: Dict[str, _Finding]) -> list[LegacySyncError]:
    """Compares with the catalogs of 4D and other sources; one that cannot be asked is returned, the others go on."""
    from legacy_sync.mapping.preflight import check_mapping, find_hints

    unreachable: dict[str, LegacySyncError] = {}
    for finding in findings.values():
        server = finding.mapping.source.server
        if server in unreachable:
            continue
        try:
            catalog = workspace.source(server).describe()
        except LegacySyncError as error:
            unreachable[server] = error
            continue
        finding.problems += check_mapping(finding.mapping, catalog, None, list)
        if table := catalog.get(finding.mapping.source.table):
            finding.warnings += find_hints(finding.mapping, table)
    return list(unreachable.values())


def _check_erp(
    workspace: Workspace, findings: Dict[str, _Finding], transports: list[Transport]
) -> list[LegacySyncError]:
    from legacy_sync.erp.catalog import find_table, list_tables
    from legacy_sync.erp.rights import find_missing_rights
    from legacy_sync.mapping.preflight import check_mapping, find_warnings

    try:
        with workspace.erp() as connection:
            transports.append(of_erp(connection))
            for finding in findings.values():
                finding.problems += check_mapping(
                    finding.mapping, None, lambda name: find_table(connection, name), lambda: list_tables(connection)
                )
                finding.problems += find_missing_rights(connection, finding.mapping)
                finding.warnings += find_warnings(finding.mapping, lambda name: find_table(connection, name))
    except LegacySyncError as error:
        return [error]
    return []


def _show(
    findings: Dict[str, _Finding],
    unreachable: list[LegacySyncError],
    transports: list[Transport],
    *,
    ok: bool,
    offline: bool,
    as_json: bool,
) -> None:
    for error in unreachable:
        show_error(error)
    show_problems(problem for finding in findings.values() for problem in finding.problems)
    if as_json:
        failures = [asdict(problem) for error in unreachable for problem in problems_of(error)]
        entities = [finding.to_json() for finding in findings.values()]
        print_json(
            {
                "ok": ok,
                "offline": offline,
                "entities": entities,
                "unreachable": failures,
                "connections": [asdict(transport) for transport in transports],
            }
        )
        return
    for transport in transports:
        text = f"warning: {transport.warning}" if transport.warning else transport.in_words
        console().print(text, markup=False, soft_wrap=True)
    for finding in findings.values():
        for warning in finding.warnings:
            console().print(f"note: {warning}", markup=False, soft_wrap=True)
    columns = ("entity", "legacy table", "ERP table", "fields", "result")
    print_table("", columns, [_row_of(finding, bool(unreachable)) for finding in findings.values()])
    if ok:
        console().print("ok" + (" (files only)" if offline else ""))
        print_next(["`legacy-sync plan` shows what a run would do"])


def _row_of(finding: _Finding, unreachable: bool) -> tuple[Any, ...]:
    m, count = finding.mapping, len(finding.problems)
    result = "not fully checked" if unreachable else "ok"
    if count:
        result = f"{count} problem{'s' if count > 1 else ''}"
    return (m.entity, m.source.table, m.target.table, len(m.fields), result)
