"""Does a person who did something wrong learn what, where and what to do next?"""

import shutil
import time

import pytest
from cli_setup import PARENTS, VARIANTS, Cli, Said

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.settings import PROJECT_ROOT

CLOSED = "127.0.0.1:1"
COMMANDS = [
    ["demo"], ["up"], ["check"], ["plan"], ["run"], ["status"], ["reconcile"], ["quarantine"], ["conflicts"],
    ["notify"], *(["quarantine", word] for word in ("list", "show", "replay", "discard")), ["conflicts", "list"],
]  # fmt: skip


def explains(said: Said) -> bool:
    return "  where: " in said.err and "  next:  " in said.err and "Traceback" not in said.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(bare_cli: Cli, command: list[str]) -> None:
    said = bare_cli(*command, "--help")
    assert said.code == 0
    assert "Usage: " in said.out
    assert len(said.out.split("\n\n")[1].strip()) > 20


def test_help_is_there_at_once(bare_cli: Cli) -> None:
    def took() -> float:
        began = time.monotonic()
        assert bare_cli.run("--help").code == 0
        return time.monotonic() - began

    assert min(took() for _ in range(5)) < 1.5


def test_an_unknown_entity_is_answered_with_the_closest_name(bare_cli: Cli) -> None:
    said = bare_cli("check", "--offline", "products_parentprodukt")
    assert said.code == 2
    assert explains(said)
    assert f'did you mean "{PARENTS}"?' in said.err


def test_a_missing_database_is_named_with_its_variable(bare_cli: Cli) -> None:
    said = bare_cli("status")
    assert said.code == 2
    assert explains(said)
    assert "ERP_DATABASE_URL" in said.err


def test_a_bad_url_is_bad_usage_and_its_password_stays_secret(bare_cli: Cli) -> None:
    said = bare_cli("status", ERP_DATABASE_URL="mysql://erp:geheim@db/erp")
    assert said.code == 2
    assert explains(said)
    assert "geheim" not in said.err


def test_an_unreachable_database_aborts(cli: Cli) -> None:
    said = cli("run", ERP_DATABASE_URL=f"postgresql://erp:geheim@{CLOSED}/erp")
    assert said.code == 1
    assert explains(said)
    assert "geheim" not in said.err


def test_an_unreachable_4d_aborts_but_the_erp_is_checked_all_the_same(cli: Cli, four_d: FourDServer) -> None:
    four_d.stop()
    said = cli("check", "--json", LEGACY_SYNC_ENV="test")
    assert said.code == 1
    assert explains(said)
    assert not said.json["ok"]
    assert len(said.json["unreachable"]) == 1


def test_errors_are_json_too_where_json_was_asked_for(bare_cli: Cli) -> None:
    said = bare_cli("status", "--json")
    assert said.json["error"]["kind"] == "SettingsInvalid"
    assert said.json["error"]["problems"][0]["next_step"]


def test_check_reports_the_problems_of_all_files_at_once(bare_cli: Cli) -> None:
    folder = bare_cli.folder / "mappings"
    shutil.copytree(PROJECT_ROOT / "mappings", folder)
    for entity in (PARENTS, VARIANTS):
        file = folder / f"{entity}.yaml"
        file.write_text(file.read_text().replace("required: true", "requiered: true", 1))
    said = bare_cli("check", "--offline", LEGACY_SYNC_MAPPINGS=str(folder))
    assert said.code == 2
    assert said.err.count('"requiered"') == 2
    assert f"{PARENTS}.yaml:" in said.err
    assert f"{VARIANTS}.yaml:" in said.err


def test_check_finds_what_has_drifted(cli: Cli, four_d: FourDServer) -> None:
    assert cli("check").code == 0
    four_d.store.alter_table("Artikel_Familie", drop=["Gewicht"])
    said = cli("check", "--json")
    assert said.code == 1
    assert '"Gewicht"' in said.err
    problems = {entity["entity"]: len(entity["problems"]) for entity in said.json["entities"]}
    assert problems == {PARENTS: 1, VARIANTS: 0}


def test_check_writes_the_schemas_for_editors(bare_cli: Cli) -> None:
    folder = bare_cli.folder / "mappings"
    shutil.copytree(PROJECT_ROOT / "mappings", folder, ignore=shutil.ignore_patterns(".schema"))
    assert bare_cli("check", "--offline", "--write-schema", LEGACY_SYNC_MAPPINGS=str(folder)).code == 0
    assert (folder / ".schema" / "mapping.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--since", "2025-01-01", "--partition", "2025-01-01"],
        ["run", "--since", "yesterday"],
        ["quarantine", "replay"],
        ["quarantine", "replay", "1", "--all"],
        ["quarantine", "discard", "1"],
        ["quarantine", "list", "--status", "odd"],
        ["conflicts", "list", "--status", "odd"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_bad_usage_has_its_own_exit_code(bare_cli: Cli, arguments: list[str]) -> None:
    said = bare_cli(*arguments)
    assert said.code == 2
    assert "Error: " in said.err
