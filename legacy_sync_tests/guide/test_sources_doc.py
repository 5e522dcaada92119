"""Does docs/sources.md tell the truth? Its source files load, its names exist, its SQL is what 4D's manual asks for."""

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from legacy_sync.mapping.loader import load_project
from legacy_sync.mapping.source_words import BUILT_IN
from legacy_sync.settings import PROJECT_ROOT, read_settings

TEXT = (PROJECT_ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, flags=re.DOTALL)
SOURCES = [text for language, text in BLOCKS if language == "yaml"]
MAPPING = "source: {table: T}\ntarget: {table: a}\nfields: {x: {from: X}}\n"


@pytest.mark.parametrize("text", SOURCES)
def test_every_source_file_in_the_text_loads(tmp_path: Path, text: str):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "example.yaml").write_text(text)
    (tmp_path / "a.yaml").write_text(MAPPING)
    variables = {"LEGACY_SYNC_MAPPINGS": str(tmp_path), "EXAMPLE_PASSWORD": "p"}
    assert "example" in load_project(read_settings(variables)).sources


def test_every_kind_has_an_example():
    kinds = {re.search(r"^type: (\w+)", text, flags=re.MULTILINE)[1] for text in SOURCES}  # type: ignore[index]
    assert kinds == BUILT_IN.keys() - {"four_d"}


def test_paths_in_the_text_exist():
    paths = re.findall(r"`((?:mappings|legacy_sync|legacy_sync_tests|docs)/[\w./]+)`", TEXT)
    assert [path for path in paths if not (PROJECT_ROOT / path).exists()] == []


@pytest.fixture
def dialect() -> Any:
    (code,) = [text for language, text in BLOCKS if language == "python"]
    names: dict[str, Any] = {"__name__": "four_d_sql"}
    exec(compile(code, "docs/sources.md", "exec"), names)
    return names["FourDSqlDialect"](paramstyle="qmark")  # as pyodbc has it


def test_the_sql_for_4d_quotes_every_name_and_names_its_values_by_marks(dialect: Any):
    table = sa.table("Kunden", sa.column("UID"), sa.column("Straße"), sa.column("modified_date"))
    query = sa.select(*table.c).where(table.c.modified_date >= sa.literal("2025-04-01")).order_by(table.c.UID)
    said = str(query.compile(dialect=dialect)).replace("\n", "")
    assert said == (
        "SELECT [Kunden].[UID], [Kunden].[Straße], [Kunden].[modified_date] FROM [Kunden] "
        "WHERE [Kunden].[modified_date] >= ? ORDER BY [Kunden].[UID]"
    )
    assert dialect.identifier_preparer.quote("a]b") == "[a]]b]"


def test_the_connection_string_reaches_the_driver_whole(dialect: Any):
    (variable,) = re.findall(r"FOUR_D_ODBC='(.*?)'", TEXT)
    ((text,), _) = dialect.create_connect_args(make_url(f"four_d_sql+pyodbc:///?odbc_connect={variable}"))
    assert text == "Driver={4D ODBC Driver 64-bit};Server=host;Port=19812;UID=user;PWD=secret"
