"""What does a mapping file say, and on which line does it say so?

A file becomes plain data plus the place of every value, so that a problem found later can name file
and line, also after the overlay of the environment was merged in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from legacy_sync.errors import Problem
from legacy_sync.mapping.suggest import did_you_mean

ValuePath = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_KINDS = {_TAG + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge")}
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}:]*)(?::-([^}]*))?\}|\$\{")
_LARGEST = 200_000  # bytes of a file; the largest of this project has a twentieth of that
_MOST_VALUES = 20_000  # with all aliases written out
_DEEPEST = 40
_EXCLUSIVE = (
    {"cron", "every"},
    {"from", "from_column", "first_of", "join", "compute", "value", "reference"},
    {"matches", "one_of"},
)


@dataclass(frozen=True)
class Place:
    """A line of a file, shown relative to the mappings folder's parent."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Filled:
    """A text with environment variables in it: as it was written, and with their values."""

    written: str
    text: str


@dataclass
class Document:
    """Plain data (dicts, lists, scalars; keys are texts) and the place of every value in it."""

    data: dict[str, Any]
    places: dict[ValuePath, Place]
    problems: list[Problem] = field(default_factory=list)
    filled: dict[ValuePath, Filled] = field(default_factory=dict)

    def place_of(self, path: ValuePath) -> Place:
        """The place of a value, or of the nearest one around it that was written down."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def where(self, path: ValuePath) -> str:
        """`mappings/x.yaml:12, fields.sku.cast`."""
        place = self.place_of(path)
        return f"{place}, {dotted(path)}" if path else str(place)

    def report(self, path: ValuePath, what: str, next_step: str) -> None:
        """Remember a problem at a value."""
        self.problems.append(Problem(what, self.where(path), next_step))

    def section(self, path: ValuePath) -> Document | None:
        """The part below `path` as a document of its own; None if there is no mapping."""
        part: Any = self.data
        for key in path:
            part = part.get(key) if isinstance(part, dict) else None
        if not isinstance(part, dict):
            return None
        size = len(path)
        places = {p[size:]: place for p, place in self.places.items() if p[:size] == path}
        filled = {p[size:]: text for p, text in self.filled.items() if p[:size] == path}
        return Document(part, places, filled=filled)


def dotted(path: ValuePath) -> str:
    """`fields.sku.cast`, `rules[0].column`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


def read_document(file: Path, shown: str, variables: Mapping[str, str]) -> Document:
    """The file as a document; `problems` says what could not be read, then `data` may lack it."""
    document = Document({}, {(): Place(shown, 1)})
    text = _read_text(file, document)
    if text is None:
        return document
    try:
        root = _parse_json(text, document) if file.suffix == ".json" else _parse_yaml(text, document)
    except RecursionError:
        document.report((), *_TOO_DEEP)
    if document.problems:
        return document
    if root is None:
        document.report((), "the file is empty", "write a mapping into it, or delete the file")
        return document
    if not isinstance(root, MappingNode):
        what = f"the file holds {_kind_of(root)}, not a mapping of words"
        document.report((), what, 'begin with lines such as "source:"')
        return document
    reader = _Reader(document, shown, variables)
    document.data = reader.read(root, (), ())
    if reader.is_stopped:
        document.data = {}
    document.data.pop("$schema", None)  # JSON files name their schema by a key
    return document


_TOO_DEEP = ("values are nested too deeply", "write the mapping with fewer brackets within brackets")


def _read_text(file: Path, document: Document) -> str | None:
    size = file.stat().st_size
    if size > _LARGEST:
        what = f"the file is larger than {_LARGEST:,} bytes: {size:,}"
        document.report((), what, "make several mappings of it, or move it elsewhere if it is none")
        return None
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        document.places[()] = Place(document.places[()].file, line)
        document.report(
            (),
            f"the file is not UTF-8: byte {raw[error.start]:#04x} at position {error.start}",
            "save it as UTF-8 in your editor" + _probable_encoding(raw),
        )
        return None


def _probable_encoding(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "; it looks like UTF-16"
    return "; it looks like Windows-1252 (Latin-1)"


def _parse_yaml(text: str, document: Document) -> Node | None:
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        column = f", column {mark.column + 1}" if mark else ""
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        place = Place(document.places[()].file, line)
        document.problems.append(Problem(f"YAML syntax error: {reason}{column}", str(place), _yaml_hint(text, line)))
    except YAMLError as error:
        document.report((), f"YAML syntax error: {error}", "remove characters that cannot be typed")
    else:
        return root
    return None


def _yaml_hint(text: str, line: int) -> str:
    lines = text.splitlines()
    around = " ".join(lines[max(0, line - 2) : line])
    if "\t" in around:
        return "replace the tab by blanks; YAML indents with blanks only"
    if "${" in around:
        return "put the text with ${…} in quotes; between braces it needs them"
    return "compare indentation, quotes, colons and brackets here and in the line above"


def _parse_json(text: str, document: Document) -> Node | None:
    if not text.strip():
        return None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{document.places[()].file}:{error.lineno}"
        what = f"JSON syntax error: {error.msg}, column {error.colno}"
        document.problems.append(Problem(what, where, "compare commas, quotes and brackets here and in the line above"))
        return None
    # JSON is YAML, but for tabs between the values; inside of texts JSON has none.
    return _parse_yaml(text.replace("\t", " "), document)


def _kind_of(node: Node) -> str:
    return "a list" if isinstance(node, SequenceNode) else "a single value"


class _Reader:
    """Turns YAML nodes into plain data, fills in variables and notes every place."""

    def __init__(self, document: Document, shown: str, variables: Mapping[str, str]) -> None:
        self.document = document
        self.shown = shown
        self.variables = variables
        self.is_stopped = False
        self._left = _MOST_VALUES

    def _stop(self, path: ValuePath, depth: int) -> bool:
        """Whether to go no further: aliases of aliases can make a few lines endless."""
        self._left -= 1
        if not self.is_stopped and depth > _DEEPEST:
            self.document.report(path[:3], *_TOO_DEEP)
            self.is_stopped = True
        if not self.is_stopped and self._left < 0:
            what = f"aliases make too many values of this file, more than {_MOST_VALUES:,}"
            self.document.report((), what, "write fewer anchors and aliases")
            self.is_stopped = True
        return self.is_stopped

    def read(self, node: Node, path: ValuePath, above: tuple[int, ...]) -> Any:
        """The value of a node; `above` are the nodes around it, to notice an alias of itself."""
        if self._stop(path, len(above)):
            return None
        self.document.places.setdefault(path, Place(self.shown, node.start_mark.line + 1))
        if id(node) in above:
            self.document.report(path, "the value contains itself", "write the value out instead of the alias")
            return None
        inside = (*above, id(node))
        if str(node.tag) not in _KINDS:
            what = f'the tag "{node.tag}" is not allowed'
            self.document.report(path, what, "remove the tag; plain values are enough")
            return None
        if isinstance(node, MappingNode):
            return self._read_mapping(node, path, inside)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, n), inside) for n, item in enumerate(node.value)]
        return self._read_scalar(node, path)

    def _read_mapping(self, node: MappingNode, path: ValuePath, above: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        if self._stop(path, len(above)):
            return result
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged = self._read_merge(value_node, path, above)
                continue
            if not isinstance(key_node, ScalarNode):
                self.document.report(path, "a key is a list or a mapping", "use a plain name as the key")
                continue
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in result:
                first = self.document.places[(*path, key)].line
                where = f"{self.shown}:{line}, {dotted((*path, key))}"
                what = f'"{key}" stands here a second time; the first is in line {first}'
                self.document.problems.append(Problem(what, where, "keep one of the two"))
                continue
            self.document.places[(*path, key)] = Place(self.shown, line)
            result[key] = self.read(value_node, (*path, key), above)
        return {**merged, **result}

    def _read_merge(self, node: Node, path: ValuePath, above: tuple[int, ...]) -> dict[str, Any]:
        if isinstance(node, MappingNode) and id(node) not in above:
            return self._read_mapping(node, path, (*above, id(node)))
        self.document.report(path, '"<<" merges something that is no mapping', "let it point to an anchor of a mapping")
        return {}

    def _read_scalar(self, node: Node, path: ValuePath) -> str | int | float | bool | None:
        kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if kind == "null":
            return None
        if kind == "bool":
            return text.casefold() == "true"
        if kind == "int":
            return _integer(text)
        if kind == "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").replace(".NaN", "nan"))
        written = _joined_surrogates(text)
        filled = _VARIABLE.sub(lambda match: self._value_of(match, path), written)
        if filled != written:
            self.document.filled[path] = Filled(written, filled)
        # An unquoted ${TIMEOUT} means what its value would mean in its place: 60 is a number.
        return _plain_scalar(filled) if filled != written and getattr(node, "style", None) is None else filled

    def _value_of(self, match: re.Match[str], path: ValuePath) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if not name:
            what = f'"{match[0]}" names no environment variable'
            self.document.report(path, what, 'write ${NAME}, or "$${" for a literal "${"')
            return match[0]
        value = self.variables.get(name) or default
        if value is not None:
            return value
        self.document.report(
            path,
            f"the environment variable {name} is not set",
            did_you_mean(name, self.variables, f"set {name}, or write a default: ${{{name}:-…}}"),
        )
        return match[0]


def _plain_scalar(text: str) -> str | int | float | bool | None:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?\d*\.\d+", text):
        return float(text)
    return {"true": True, "false": False, "null": None}.get(text.casefold(), text)


def _integer(text: str) -> int:
    plain = text.replace("_", "")
    return int(plain, 0) if plain.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else int(plain)


def _joined_surrogates(text: str) -> str:
    """JSON writes rare characters as two halves."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def merge(base: Document, top: Document) -> Document:
    """Both documents as one; where both say something, `top` wins, word by word."""
    merged = Document(_merged(base.data, top.data), dict(base.places), filled=dict(base.filled))
    for path in _paths(top.data, ()):
        merged.places[path] = top.place_of(path)
        merged.filled.pop(path, None)
    merged.filled |= top.filled
    return merged


def _merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    if "type" in base and "type" in top and base["type"] != top["type"]:
        return dict(top)
    replaced = {key for group in _EXCLUSIVE if group & top.keys() for key in group - top.keys()}
    result = {key: value for key, value in base.items() if key not in replaced}
    for key, value in top.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _paths(value: object, path: ValuePath) -> Iterator[ValuePath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*path, key))
    if isinstance(value, list):
        for n, item in enumerate(value):
            yield from _paths(item, (*path, n))
