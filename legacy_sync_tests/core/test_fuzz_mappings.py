"""Whatever a mapping, source or environment file holds: it is valid, or a sentence names file and line."""

import re
import tempfile
from pathlib import Path

import pytest
from fuzz_setup import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.loader import Project, load_project
from legacy_sync.settings import PROJECT_ROOT, read_settings

FILES = (
    "products_parentproduct.yaml",
    "sales_salesrecord.payments.yaml",
    "inventory_boxslot.yaml",
    "sources/bookkeeping.yaml",
    "sources/drop_folder.yaml",
    "environments/dev.yaml",
)
TEXTS = {name: (PROJECT_ROOT / "mappings" / name).read_text(encoding="utf-8") for name in FILES}
PIECES = (
    *("\t", "\x00", "\x07", "\u2028", "\ufeff", "ü", "𝕏", "{", "}", "[", "]", ": ", "- ", '"', "'", "|", ">", "%", "@"),
    *(
        "&a ",
        "*a",
        "*none",
        "<<: *a",
        "<<: [1]",
        "? [a]\n: b",
        "!!python/object/apply:os.system ['true']",
        "!!binary x",
    ),
    *("!!set {a}", "!!timestamp 2026-99-99", "2026-02-30", "0x", "0o9", "1_000", ".inf", ".nan", "1e999", "9" * 400),
    *("${HOME}", "${", "${X:-", "$${", "${:-}", "null", "~", "yes", "---\n", "...\n", "#", "\n\n", "{{", "%YAML 9.9\n"),
    *("source: 1\n", "fields: []\n", "target: null\n", "  sku: {from: [1, {a: b}]}\n", "? ", "a: &x {b: *x}\n"),
)
PLACED = re.compile(r"^\w[\w .-]*/(?:[\w.]+/)?[\w.-]+\.(?:yaml|json):\d+")


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of the project and what became of it."""
    name = draw(st.sampled_from(FILES))
    text = TEXTS[name]
    for _ in range(draw(st.integers(1, 4))):
        lines = text.splitlines(keepends=True) or [""]
        line = draw(st.integers(0, len(lines) - 1))
        place = draw(st.integers(0, len(lines[line])))
        piece = draw(st.sampled_from(PIECES) | st.text(max_size=5))
        match draw(st.sampled_from(("insert", "value", "drop", "double", "indent", "cut"))):
            case "insert":
                lines[line] = lines[line][:place] + piece + lines[line][place:]
            case "value":
                lines[line] = re.sub(r"(:\s|-\s).*", lambda m, p=piece: m[1] + p, lines[line].rstrip("\n")) + "\n"
            case "drop":
                lines[line] = ""
            case "double":
                lines[line] *= 2
            case "indent":
                lines[line] = " " * (place % 7) + lines[line].lstrip()
            case _:
                del lines[line + 1 :]
        text = "".join(lines)
    raw = text.encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        return name, raw
    place = draw(st.integers(0, len(raw)))
    return name, raw[:place] + draw(st.binary(min_size=1, max_size=4)) + raw[place:]


def load(changed: dict[str, bytes]) -> Project:
    """The files with these changes, in a folder of their own."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "mappings"
        for name, content in {**{n: t.encode() for n, t in TEXTS.items()}, **changed}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        overlay = folder / "environments" / "dev.yaml"
        if "environments/dev.yaml" not in changed:  # the other entities are not here
            overlay.write_text("landing_keep: 3\n")
        return load_project(read_settings({"LEGACY_SYNC_MAPPINGS": str(folder)}))


def problems_of(changed: dict[str, bytes]) -> list[str]:
    """What is said of the changed files; nothing if they are valid."""
    try:
        load(changed)
    except MappingInvalid as error:
        for problem in error.problems:
            assert PLACED.match(problem.where) or problem.where.startswith("environment variable"), problem.where
            assert problem.what
            assert problem.next_step
            assert len(problem.what) < 2000
        return [str(problem) for problem in error.problems]
    return []


@fuzzed(60)
@given(edits())
def test_an_edited_file_is_valid_or_told_by_file_and_line(edit: tuple[str, bytes]) -> None:
    problems_of(dict([edit]))


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
MAPS = "a0: &a0 {x: y}\n" + "".join(
    f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(10))}}}\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: y}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: *a{n - 1}}}\n" for n in range(1, 40))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["inventory_boxslot.yaml", "sources/drop_folder.yaml", "environments/dev.yaml"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LAUGHS.encode(), "too many values"),
        (MAPS.encode(), "too many values"),
        (MERGES.encode(), "too many values"),
        (b"[" * 20_000, "nested|larger"),
        (b"a:\n" + b"".join(b" " * n + b"a:\n" for n in range(1, 600)), "nested"),
        (b"{a: " * 5_000, "nested"),
        (b"a: &a [*a]", "contains itself"),
        (b"a: 1\n" * 300_000, "larger than"),
        (b"\x7fELF\x02\x01" + bytes(range(256)), "UTF-8|syntax"),
        (b"\xff\xfea\x00", "UTF-8"),
        (b"a: !!python/object/apply:os.system [true]", "not allowed"),
    ],
)
def test_a_file_made_to_do_harm_is_refused_quickly(name: str, content: bytes, said: str) -> None:
    assert re.search(said, "\n".join(problems_of({name: content})))


@pytest.mark.parametrize("content", [b"[" * 20_000, b'{"a":' * 20_000, b'{"a": 1e999}', b'{"a": NaN}', b'"\\ud800"'])
def test_a_json_file_made_to_do_harm_is_refused(content: bytes) -> None:
    assert problems_of({"core_tag.json": content})
