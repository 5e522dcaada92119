"""Does a source that another installed package brings import rows, without a line of ours being changed?"""

import json
from pathlib import Path

import psycopg
import pytest
from cli_setup import Cli

from legacy_sync.errors import SettingsInvalid
from legacy_sync.mapping.retry import Retry
from legacy_sync.mapping.source_files import SourceSpec, four_d_spec, list_kinds
from legacy_sync.mapping.source_words import SourceWords
from legacy_sync.settings import read_settings
from legacy_sync.sources.registry import landing_folder, open_source

METADATA = "Metadata-Version: 2.1\nName: legacy-sync-card-index\nVersion: 1.0\n"
ENTRY_POINTS = "[legacy_sync.sources]\ncard_index = card_index:KIND\n"
MODULE = '''
"""A box of index cards: the smallest source there can be."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Literal

import pyarrow as pa
from pydantic import Field

from legacy_sync.mapping.source_words import SourceWords
from legacy_sync.sources.base import KEY, Attribute, FetchReport, Probe, Scope, SourceKind, TableInfo


class CardIndexWords(SourceWords):
    type: Literal["card_index"] = "card_index"
    drawer: str
    cards: int = Field(default=3, ge=0)


class CardIndex:
    def __init__(self, spec, settings):
        self.name = spec.name
        self.words = spec.options

    def describe(self) -> dict[str, TableInfo]:
        names = (KEY, "word", "text")
        return {"cards": TableInfo("cards", tuple(Attribute(name, "string") for name in names), (KEY,))}

    def probe(self, table: str, cursor: str | None, since: date | None) -> Probe:
        return Probe(self.words.cards, None, datetime.now(UTC))

    def fetch(self, scope: Scope) -> "Cards":
        return Cards(self.words)

    def fetch_keys(self, table: str) -> Iterator[tuple[str, ...]]:
        yield tuple(str(n) for n in range(self.words.cards))

    def close(self) -> None:
        pass


class Cards:
    def __init__(self, words):
        self.words, self.total, self.report = words, words.cards, None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        rows = range(self.words.cards)
        yield pa.RecordBatch.from_pydict(
            {
                KEY: [str(n) for n in rows],
                "word": [f"{self.words.drawer} {n}" for n in rows],
                "text": [f"Karte {n}" for n in rows],
            }
        )
        self.report = FetchReport(self.words.cards, 1, 0, 0.0, True, datetime.now(UTC))


KIND = SourceKind(CardIndexWords, CardIndex)
'''
MAPPING = {
    "source": {"server": "old_cards", "table": "cards"},
    "target": {
        "table": "core_tag",
        "natural_key": ["name"],
        "created_at": "created_at",
        "updated_at": "updated_at",
    },
    "fields": {
        "name": {"from": "word", "required": True},
        "slug": {"from": "word", "cast": "slug", "required": True},
        "description": {"from": "text", "default": ""},
    },
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an installer leaves of the package: its module, and beside it its metadata with the entry point."""
    site = tmp_path_factory.mktemp("site")
    (site / "card_index.py").write_text(MODULE)
    info = site / "legacy_sync_card_index-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return site


@pytest.fixture
def card_cli(bare_cli: Cli, erp_url: str, tmp_path: Path) -> Cli:
    """The command with one mapping, from a source of the other package."""
    folder = tmp_path / "mappings"
    (folder / "sources").mkdir(parents=True)
    (folder / "core_tag.json").write_text(json.dumps(MAPPING))
    (folder / "sources" / "old_cards.yaml").write_text("type: card_index\ndrawer: Engel\ncards: ${CARDS:-3}\n")
    bare_cli.environment = {
        "ERP_DATABASE_URL": erp_url,
        "LEGACY_SYNC_MAPPINGS": str(folder),
        "LEGACY_SYNC_LANDING": str(tmp_path / "landing"),
    }
    return bare_cli


def test_rows_of_an_installed_package_are_imported(card_cli: Cli, installed: Path, erp: psycopg.Connection):
    card_cli.environment["PYTHONPATH"] = str(installed)
    said = card_cli.run("run", "--json")
    assert said.code == 0, said.out + said.err
    rows = erp.execute("select name, slug, description from core_tag order by name").fetchall()
    assert rows == [(f"Engel {n}", f"engel-{n}", f"Karte {n}") for n in range(3)]
    again = card_cli.run("run", "--json")
    assert again.json["entities"][0]["counts"]["unchanged"] == 3


def test_its_options_are_checked_like_all_others(card_cli: Cli, installed: Path):
    card_cli.environment |= {"PYTHONPATH": str(installed), "CARDS": "-1"}
    said = card_cli.run("check", "--offline")
    assert said.code == 2
    assert '"cards" is -1, but must be at least 0' in said.err
    assert "mappings/sources/old_cards.yaml:3, cards" in said.err


def test_without_the_package_its_kind_is_unknown(card_cli: Cli):
    said = card_cli("check", "--offline")
    assert said.code == 2
    assert 'there is no source of the kind "card_index"' in said.err
    assert "mappings/sources/old_cards.yaml:1, type" in said.err
    assert "install the package that brings it" in said.err


def test_the_registry_names_what_it_knows():
    assert {"database", "files", "four_d", "rest"} <= set(list_kinds())
    with pytest.raises(SettingsInvalid, match='no source of the kind "five_d"') as caught:
        open_source(SourceSpec("x", SourceWords(type="five_d")), read_settings({}))
    assert "four_d" in caught.value.next_step


def test_4d_is_opened_with_its_options():
    settings = read_settings({"LEGACY_API_URL": "http://127.0.0.1:1"})
    source = open_source(four_d_spec(retry=Retry(attempts=2), url="http://127.0.0.1:2"), settings)
    assert source.client.options.retry.attempts == 2
    assert source.client.where == "4D server http://127.0.0.1:2/rest"
    source.close()


def test_rows_of_two_addresses_never_share_a_landing():
    one, other = (four_d_spec(url=url) for url in ("http://u:a@one", "http://other"))
    assert landing_folder(one) != landing_folder(other)
    assert landing_folder(one) == landing_folder(four_d_spec(url="http://u:b@one")), "a new password is no new address"
