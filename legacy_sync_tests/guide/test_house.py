"""Does the code keep the rules of the house? Imports point one way, one reader of settings, no swallowed errors."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from legacy_sync.mapping.links import find_circle

PACKAGE = Path(__file__).resolve().parents[2] / "legacy_sync"
TREES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
SHAPES = {
    "errors",
    "mapping",
    "erp.catalog",
    "erp.shape",
    "sources.base",
    "sources.cost",
    "ledger.quarantine.Parked",
    "sources.four_d.wire.to_batch",
}  # what things look like; no I/O in them
STAGED = ("ROW", "KEY", "MODIFIED", "UNIT", "StagedColumn", "encode", "keep_column", "keep_columns")
STAGED += ("lookup_column", "create_column", "other_key_column")
SHAPES |= {f"erp.staging.{name}" for name in STAGED} | {"erp.related.Related"}
STARTERS = {"orchestration", "definitions", "cli", "demo"}
MAY_IMPORT = {
    "errors": set(),
    "settings": {"errors"},
    "mapping": SHAPES | {"settings", "pyerp"},
    "pyerp": SHAPES | {"pyerp", "sync.casts", "sync.cells"},  # pyERP's rules, known to mappings by name
    "sources": SHAPES | {"settings", "sources"},
    "erp": SHAPES | {"settings", "erp", "ledger", "pyerp"},
    "ledger": SHAPES | {"settings", "erp", "ledger"},
    "notify": SHAPES | {"settings", "erp.database", "ledger", "notify"},
    "sync": SHAPES | {"sync", "pyerp"},
}
TOUCHES_EDGES = (
    "workspace",
    "beside_rows",
    "compact",
    "choosing",
    "evidence",
    "fetch",
    "bound",
    "gone",
    "life",
    "load",
    "loading",
    "noting",
    "parked",
    "session",
    "pipeline",
    "reconcile",
    "repair",
    "resolve",
    "undo",
    "waiting",
)  # the only parts of sync that do
MAY_IMPORT |= {f"sync.{name}": SHAPES | {"settings", "sources", "erp", "ledger", "sync"} for name in TOUCHES_EDGES}

every_module = pytest.mark.parametrize("name", TREES)


def imported(node: ast.AST) -> set[str]:
    names: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.ImportFrom):
            names |= {f"{part.module}.{alias.name}" for alias in part.names}
        elif isinstance(part, ast.Import):
            names |= {alias.name for alias in part.names}
    return names


def is_part_of(name: str, parts: set[str]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


@every_module
def test_imports_point_one_way(name: str) -> None:
    own = {i.removeprefix("legacy_sync.") for i in imported(TREES[name]) if i.startswith("legacy_sync.")}
    top = name.split(".")[0]
    if top and top not in STARTERS:
        assert {i for i in own if not is_part_of(i, MAY_IMPORT.get(name, MAY_IMPORT[top]))} == set()
    edges = {f"sync.{part}" for part in TOUCHES_EDGES}
    if name not in edges and top not in STARTERS:
        assert not {i for i in own if is_part_of(i, edges)}


def test_no_module_needs_itself_to_be_imported() -> None:
    """Else it depends on who comes first whether the program starts."""
    at_load = {
        name: {i for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for i in imported(node)}
        for name, tree in TREES.items()
    }
    needs = {name: sorted({module_of(i) for i in found} & TREES.keys() - {name}) for name, found in at_load.items()}
    assert find_circle(needs) == []


def module_of(name: str) -> str:
    """The module of ours that an imported name is, or stands in."""
    own = name.removeprefix("legacy_sync.")
    return own if own in TREES else own.rpartition(".")[0]


@every_module
def test_only_the_starters_import_dagster_and_the_cli_only_when_needed(name: str) -> None:
    top = name.split(".")[0]
    if top in {"orchestration", "definitions"}:
        return
    at_load = [node for node in TREES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
    looked_at = at_load if top in {"cli", "demo"} else [TREES[name]]
    assert not {i for node in looked_at for i in imported(node) if i.startswith("dagster")}


@every_module
def test_only_settings_reads_the_environment(name: str) -> None:
    text = ast.unparse(TREES[name])
    allowed = name == "settings" or name.split(".")[0] == "demo"  # the demo sets variables for its children
    assert allowed or ("os.environ" not in text and "getenv" not in text)


@every_module
def test_no_broad_except(name: str) -> None:
    handlers = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.ExceptHandler)]
    caught = [ast.unparse(handler.type) if handler.type else "everything" for handler in handlers]
    assert not {c for c in caught if c in {"everything", "Exception", "BaseException"}}


@every_module
def test_every_module_says_which_question_it_answers(name: str) -> None:
    assert ast.get_docstring(TREES[name])


def test_every_imported_library_is_declared() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    names = {canonicalize_name(re.split(r"[^\w.-]", requirement)[0]) for requirement in declared}
    libraries = {i.split(".")[0] for tree in TREES.values() for i in imported(tree)} - sys.stdlib_module_names
    homes = packages_distributions()
    found = {lib: {canonicalize_name(home) for home in homes.get(lib, [lib])} for lib in libraries - {"legacy_sync"}}
    assert [library for library, homes in sorted(found.items()) if not homes & names] == []
