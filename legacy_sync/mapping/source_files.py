"""Which sources are there besides 4D, and what do their files say?

`mappings/sources/<name>.yaml` describes one source; the word `sources` of the environment wins over it.
Kinds that do not come with this program are found by the entry point group `legacy_sync.sources`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from legacy_sync.errors import Problem
from legacy_sync.mapping import model as mapping_model
from legacy_sync.mapping import rephrase
from legacy_sync.mapping.document import Document, Filled, Place, ValuePath, dotted, merge
from legacy_sync.mapping.retry import Retry
from legacy_sync.mapping.source_words import BUILT_IN, FOUR_D, FourDWords, SourceWords
from legacy_sync.mapping.suggest import did_you_mean, name_all

GROUP = "legacy_sync.sources"
"""The entry points by which a package brings a kind of source; each names a `sources.base.SourceKind`."""

_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_VARIABLE_ONLY = re.compile(r"\$\{[^}:]+(:-)?\}")
_VARIABLE_NAME = re.compile(r"\$\{([^}:]+)")
_WITHOUT_STAMP = BUILT_IN.keys() - {FOUR_D}
_HURRIED: dict[str, Any] = {"timeout_seconds": 5, "connect_timeout_seconds": 5, "retry": Retry(attempts=1)}


@dataclass(frozen=True)
class SourceSpec:
    """One named source: checked options, and where they stand for messages."""

    name: str
    options: SourceWords
    place: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """environment variables by the word they fill"""

    @property
    def kind(self) -> str:
        """The kind of source."""
        return self.options.type

    @property
    def hurried(self) -> SourceSpec:
        """The same source, giving up soon: for looks that can be repeated."""
        known = {word: value for word, value in _HURRIED.items() if word in type(self.options).model_fields}
        return replace(self, options=self.options.model_copy(update=known))

    def how_to_set(self, word: str) -> str:
        """A next step for a word that is blank or wrong."""
        if word in self.variables:
            return f"set the environment variable {self.variables[word]} ({self.place}, {word})"
        return f'correct "{word}" in {self.place or f"mappings/sources/{self.name}.yaml"}'


def four_d_spec(**options: Any) -> SourceSpec:
    """The 4D server of the settings, which needs no file."""
    return SourceSpec(FOUR_D, FourDWords(**options), "environments")


def find_words(kind: str) -> type[SourceWords] | None:
    """The model of a kind's options; None if no installed package has such a kind."""
    if kind in BUILT_IN:
        return BUILT_IN[kind]
    for point in entry_points(group=GROUP, name=kind):
        return cast(type[SourceWords], point.load().words)
    return None


def list_kinds() -> list[str]:
    """All kinds of sources that are installed."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


class SourceFiles:
    """Reads the files of a folder one by one and remembers every problem."""

    def __init__(self, overlay: Document | None) -> None:
        self._overlay = overlay
        self._documents: dict[str, Document] = {}
        self.problems: list[Problem] = []
        self.specs: dict[str, SourceSpec] = {}
        self.names: list[str] = [FOUR_D]
        """of all sources, also of those with problems"""

    def read(self, files: Iterable[Path], read_file: Callable[[Path], Document]) -> None:
        """All sources of these files and of the overlay."""
        for file in files:
            document = read_file(file)
            self.problems += document.problems
            if file.stem in self.names[1:]:
                what = f'the source "{file.stem}" is described twice'
                self.problems.append(Problem(what, document.where(()), "keep one of the two files"))
            elif document.data or file.stem not in self.names:
                self._documents[file.stem] = document
                self.names.append(file.stem)
        for name in self._overlaid():
            if name not in self.names:
                self._report_unknown(name)
        for name in dict.fromkeys(self.names):
            spec = self._read_one(name)
            if spec:
                self.specs[name] = spec

    def check_mapping(self, mapping: mapping_model.Mapping, document: Document) -> None:
        """The source of a mapping must exist and have the table."""
        name, table = mapping.source.server, mapping.source.table
        if name not in self.names:
            otherwise = f"choose one of {name_all(self.names)}, or add the file sources/{name}.yaml"
            what = f'there is no source "{name}"'
            document.report(("source", "server"), what, did_you_mean(name, self.names, otherwise))
        tables = self.specs[name].options.table_names if name in self.specs else None
        if tables is not None and table not in tables:
            otherwise = f"choose one of {name_all(tables)}, or describe it in {self.specs[name].place}"
            what = f'the source "{name}" has no table "{table}"'
            document.report(("source", "table"), what, did_you_mean(table, tables, otherwise))
        if mapping.strategy == "global_stamp" and name in self.specs and self.specs[name].kind in _WITHOUT_STAMP:
            what = f'the source "{name}" is of the kind "{self.specs[name].kind}", which has no counter of its changes'
            document.report(("change_detection", "strategy"), what, 'choose "timestamp" or "fingerprint"')

    def _overlaid(self) -> Mapping[str, Any]:
        return self._overlay.data.get("sources") or {} if self._overlay else {}

    def _report_unknown(self, name: str) -> None:
        assert self._overlay is not None
        otherwise = f"choose one of {name_all(self.names)}, or add the file sources/{name}.yaml"
        where = self._overlay.where(("sources", name))
        next_step = did_you_mean(name, self.names, otherwise)
        self.problems.append(Problem(f'"{name}" is no source', where, next_step))

    def _read_one(self, name: str) -> SourceSpec | None:
        document = self._documents.get(name) or Document({}, {(): Place("environments", 1)})
        if document.problems:
            return None
        place = document.places[()].file
        above = self._overlay.section(("sources", name)) if self._overlay else None
        merged = merge(document, above) if above else document
        merged.places[()] = document.places[()]
        spec = _checked(name, merged, place)
        known = {problem.where for problem in document.problems} if merged is not document else set()
        self.problems += [problem for problem in merged.problems if problem.where not in known]
        return spec


def _checked(name: str, document: Document, place: str) -> SourceSpec | None:
    document.data = with_texts(document)
    if name == FOUR_D:
        document.data.setdefault("type", FOUR_D)
    if not _NAME.fullmatch(name):
        what = f'"{name}" cannot name a source'
        document.report((), what, "rename the file: letters, digits, _ and -, no digit in front")
        return None
    words = _words_of(name, document)
    if words is None:
        return None
    try:
        options = words.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors():
            rephrase.report(detail, document, words)
        return None
    check_secrets(options.secrets(), document, options)
    variables = {
        dotted(path): found[1] for path, f in document.filled.items() if (found := _VARIABLE_NAME.search(f.written))
    }
    return SourceSpec(name, options, place, variables)


def _words_of(name: str, document: Document) -> type[SourceWords] | None:
    kind = document.data.get("type")
    if kind is None:
        document.report((), '"type" is missing', f'add "type: …" with one of {name_all(list_kinds())}')
        return None
    if name == FOUR_D and kind != FOUR_D:
        document.report(("type",), f'the source "{FOUR_D}" is of the kind "{kind}"', "give the file another name")
        return None
    words = find_words(str(kind))
    if words is None:
        otherwise = f"choose one of {name_all(list_kinds())}, or install the package that brings it"
        next_step = did_you_mean(str(kind), list_kinds(), otherwise)
        document.report(("type",), f'there is no source of the kind "{kind}"', next_step)
    return words


def with_texts(document: Document) -> dict[str, Any]:
    """Values from variables as texts again: a password of digits is no number. The model converts numbers itself."""
    data = deepcopy(document.data)
    for path, filled in list(document.filled.items()):
        if rephrase.written_path(path, data) != path:  # the environment says something else in its place
            del document.filled[path]
            continue
        place: Any = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = filled.text
    return data


def check_secrets(
    secrets: Iterable[tuple[ValuePath, str]], document: Document, options: SourceWords | None = None
) -> None:
    """Reports every secret that stands in the file itself instead of coming from a variable."""
    for loc, secret in secrets:
        path: ValuePath = rephrase.written_path(_by_alias(loc), document.data)
        if secret and not _VARIABLE_ONLY.fullmatch(_as_written(options, loc, secret, document.filled.get(path))):
            word = dotted(path)
            document.report(path, f'a secret stands in the file: "{word}"', f"write {word}: ${{NAME}} and set NAME")


def _as_written(options: SourceWords | None, loc: ValuePath, secret: str, said: Filled | None) -> str:
    """The secret with its variable, as it stands in the file; it may be only a part of a value."""
    if said is None:
        return secret
    if options is None:
        return said.written
    written = options.model_copy(update={str(loc[0]): said.written}) if len(loc) == 1 else options
    return dict(written.secrets()).get(loc, said.written) if len(loc) == 1 else said.written


def _by_alias(loc: ValuePath) -> ValuePath:
    return tuple(key.rstrip("_") if isinstance(key, str) else key for key in loc)
