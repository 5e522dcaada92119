"""Does the code open doors to hostile input? No SQL out of texts, no code out of data, no server unchecked."""

import ast
import re

import pytest
from test_house import PACKAGE, TREES

every_module = pytest.mark.parametrize("name", TREES)

RUNS_CODE = {"eval", "exec", "compile", "__import__"}
UNSAFE_MODULES = {"pickle", "shelve", "marshal", "dill", "cloudpickle", "xml", "lxml", "telnetlib", "ftplib"}
RUNS_SQL = {"execute", "executemany", "copy"}
# What is made SQL of without composition, and why nobody outside can say anything in it.
COMPOSED_BY_HAND = {
    "erp.database": {"text.replace('%', '%%')": "a name or a constant, quoted by the driver"},
    "erp.checks": {
        "check.expression": "the condition of a check, as PostgreSQL itself writes it (pg_get_expr)",
    },
    "erp.apply": {"source": "one of two constants"},
    "ledger.quarantine": {"row": "one of two constants"},
    "erp.chosen": {
        "shape.table.columns[column].full_type": "a type of the catalog",
        "column.full_type": "the same",
    },
    "erp.undo_find": {"self.table.columns[self.table.primary_key[0]].full_type": "a type of the catalog"},
    "erp.undo_write": {"column.full_type": "a type of the catalog", "where": "one of two constants"},
    "ledger.exports": dict.fromkeys(("query", "run", "at", "order"), "a constant of the module, or a part of one"),
    "erp.relink": {"c.type": "a type of the catalog, or a constant of this program"},
    "erp.sweep": {"shape.table.columns[name].full_type": "a type of the catalog"},
    "erp.staging": {
        "c.type": "a type of the catalog, or a constant of this program",
        "column.becomes or ''": "a type of the catalog",
    },
    "erp.plan": {
        "index.predicate": "the condition of a partial index, as PostgreSQL itself writes it (pg_get_expr)",
    },
    "erp.shape": {
        "self.key.full_type": "a type, as PostgreSQL itself writes it (format_type)",
        "self.table.columns[column].full_type": "the same",
    },
    "erp.late_values": {
        "type_": "a type, as PostgreSQL itself writes it (format_type), or text",
        "ERP_RULES[rule]": "a constant of legacy_sync/pyerp",
        "shape.table.columns[name].full_type": "a type of the catalog",
    },
    "erp.parents": {
        "DERIVED[word.rule]": "a constant of legacy_sync/pyerp",
        "key.full_type": "a type of the catalog",
        "parent.columns[word.into].full_type": "a type of the catalog",
    },
    "erp.references": {
        "column.full_type if column else 'text'": "a type of the catalog",
        "shape.related.key_of(to).full_type": "a type of the catalog",
        "shape.table.columns[name].full_type": "a type of the catalog",
        "form": "one of two constants",
        "f' and {{}} is {word}'": "one of two constants",
    },
}


def is_constant(node: ast.AST, names: set[str]) -> bool:
    """A text of the program: literals, sums and choices of them, and names that stand for those in its module."""
    match node:
        case ast.Constant():
            return True
        case ast.BinOp(op=ast.Add()):
            return is_constant(node.left, names) and is_constant(node.right, names)
        case ast.IfExp():
            return is_constant(node.body, names) and is_constant(node.orelse, names)
        case ast.Name():
            return node.id in names
    return False


def constants_of(tree: ast.Module) -> set[str]:
    """Names that stand for texts of the program at the top of a module."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AugAssign) and node.value is not None and is_constant(node.value, found):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


@every_module
def test_no_statement_is_put_together_of_texts(name: str) -> None:
    """No f-string, no format, no %, no + of anything but constants goes to the database."""
    pasted = (ast.JoinedStr, ast.BinOp)
    names = constants_of(TREES[name])
    for call in calls(TREES[name]):
        if isinstance(call.func, ast.Attribute) and call.func.attr in RUNS_SQL and call.args:
            query = call.args[0]
            is_format = isinstance(query, ast.Call) and name_of(query).endswith(".format")
            of_text = is_format and isinstance(query.func.value, ast.Constant | ast.JoinedStr)  # type: ignore[union-attr]
            assert not of_text, ast.unparse(call)
            is_pasted = isinstance(query, pasted) and not is_constant(query, names)
            if is_pasted and isinstance(query, ast.BinOp) and "sql.SQL" in ast.unparse(query):
                continue  # a sum of compositions
            assert not is_pasted, ast.unparse(call)


@every_module
def test_what_is_called_sql_is_a_text_of_the_program(name: str) -> None:
    names = constants_of(TREES[name])
    made = [call.args[0] for call in calls(TREES[name]) if name_of(call) == "sql.SQL" and call.args]
    allowed = COMPOSED_BY_HAND.get(name, {})
    assert {ast.unparse(text) for text in made if not is_constant(text, names)} == allowed.keys()


@every_module
def test_no_code_is_made_of_data(name: str) -> None:
    called = {name_of(call) for call in calls(TREES[name])}
    assert called & RUNS_CODE == set()
    imported = {
        part.split(".")[0]
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Import | ast.ImportFrom)
        for part in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported & UNSAFE_MODULES == set()
    assert not {
        call for call in called if re.fullmatch(r"yaml\.(load|load_all|unsafe_load|full_load)|os\.system", call)
    }
    for call in calls(TREES[name]):
        if name_of(call) == "YAML":
            assert {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}.get("typ") == "'safe'"
        assert not any(k.arg == "shell" and ast.unparse(k.value) == "True" for k in call.keywords), ast.unparse(call)


@every_module
def test_every_certificate_is_checked_and_no_redirect_followed(name: str) -> None:
    text = ast.unparse(TREES[name])
    assert "verify=False" not in text
    assert "_create_unverified_context" not in text
    assert "CERT_NONE" not in text
    for call in calls(TREES[name]):
        if name_of(call).endswith(("http.request", "_session.request")):
            assert "allow_redirects=False" in ast.unparse(call)


def test_servers_of_the_demo_listen_on_this_machine_only() -> None:
    found = [
        f"{path.name}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "0.0.0.0" in line or re.search(r"""["'](-h|--host)["'], ["'](?!127\.0\.0\.1)""", line)
    ]
    assert found == []
