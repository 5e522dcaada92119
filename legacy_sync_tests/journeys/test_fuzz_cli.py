"""Whatever is typed and whatever the environment says: a result or a sentence, and one of four exit codes."""

import re
from pathlib import Path

import pytest
from cli_setup import PARENTS, Cli, Said
from fuzz_setup import fuzzed
from hypothesis import given
from hypothesis import strategies as st

COMMANDS = (
    *(("check", "--offline"), ("check",), ("plan",), ("run",), ("status",), ("reconcile",), ("grants",)),
    *(("quarantine", "list"), ("quarantine", "show"), ("quarantine", "replay"), ("quarantine", "discard")),
    *(("conflicts", "list"), (), ("--verbose", "run"), ("quarantine",)),
)
WORDS = (
    *(
        PARENTS,
        "products_parentproducts",
        "",
        " ",
        "*",
        "..",
        "/etc/passwd",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "9" * 30,
        "1e9",
    ),
    *("--json", "--full", "--partition", "--since", "--dry-run", "--jobs", "--values", "--role", "--accept-shrink"),
    *("2024-01-01", "2024-13-99", "99999-01-01", "all", "a...b", "%s", "{}", "\x01", "ü𝕏\u202e", "'; drop table x; --"),
    *(
        "x" * 5000,
        "--help",
        "--offline",
        "--cost",
        "--repair",
        "--entity",
        "--reason",
        "--nonsense",
        "--jobs=0",
        "--jobs=-1",
    ),
)
URLS = (
    *(
        "",
        " ",
        "x",
        "://",
        "http://",
        "http://[",
        "http://h:0",
        "http://h:x",
        "http://h:70000",
        "ftp://h",
        "http://h h",
    ),
    *(
        "http://127.0.0.1:1",
        "http://u:p@127.0.0.1:1/rest",
        "http://%zz",
        "http://\x01",
        "http://ü.invalid",
        "https://:443",
    ),
    *("postgresql://", "postgresql://h:x/d", "postgresql:///", "postgresql://127.0.0.1:1/d", "postgresql://u:%zz@h/d"),
    *(
        "postgresql://127.0.0.1:1/d?x=y",
        "postgresql://127.0.0.1:1/d?sslmode=no",
        "postgresql://127.0.0.1:1/d?sslmode=require",
    ),
    *(
        "postgresql://127.0.0.1:1,127.0.0.1:1/d",
        "postgres+psycopg://127.0.0.1:1/\x01",
        "postgresql://127.0.0.1:1/d#@",
        "x" * 5000,
    ),
)
VALUES = (
    "",
    " ",
    "x",
    "..",
    "/",
    "/dev/null",
    "/proc/1/mem",
    "ü𝕏",
    "\x01",
    "a\nb",
    "x" * 5000,
    "s3://b/x",
    "nope://x",
    "file://",
    "%zz",
)
VARIABLES = {
    "LEGACY_API_URL": URLS,
    "ERP_DATABASE_URL": URLS,
    "LEGACY_API_USER": VALUES,
    "LEGACY_API_PASSWORD": VALUES,
    "LEGACY_API_CA": VALUES,
    "LEGACY_SYNC_ENV": VALUES,
    "LEGACY_SYNC_MAPPINGS": VALUES,
    "LEGACY_SYNC_LANDING": VALUES,
}


@pytest.fixture
def hurried(cli: Cli) -> Cli:
    """A command that does not try again for long."""
    for file in (Path(cli.environment["LEGACY_SYNC_MAPPINGS"]) / "environments").iterdir():
        said = file.read_text()
        hurry = '"sources": {"four_d": {"attempts": 1, "connect_timeout_seconds": 1, "timeout_seconds": 1}}'
        file.write_text(
            re.sub(r'"sources": \{[^{}]*(\{[^{}]*\}[^{}]*)*\}', hurry, said) if '"sources"' in said else said
        )
    return cli


def judged(said: Said) -> None:
    """No traceback, and whoever gets an exit code also gets a reason."""
    assert said.code in (0, 1, 2, 3)
    assert "Traceback" not in said.err + said.out
    assert said.code in (0, 3) or said.err.strip() or said.out.strip()


@fuzzed(20, shrink=False)
@given(command=st.sampled_from(COMMANDS), words=st.lists(st.sampled_from(WORDS), max_size=4))
def test_whatever_is_typed_ends_with_a_result_or_a_sentence(
    hurried: Cli, command: tuple[str, ...], words: list[str]
) -> None:
    judged(hurried(*command, *words))


@fuzzed(12, shrink=False)
@given(
    command=st.sampled_from(("check", "run", "status", "grants")),
    variables=st.sampled_from(sorted(VARIABLES)).flatmap(
        lambda name: st.fixed_dictionaries({name: st.sampled_from(VARIABLES[name])})
    ),
)
def test_whatever_the_environment_says_ends_with_a_result_or_a_sentence(
    hurried: Cli, command: str, variables: dict[str, str]
) -> None:
    judged(hurried(command, **variables))
