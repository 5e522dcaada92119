"""Do references, and columns made of other columns, name what is there when it is needed?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from typing import NamedTuple

from legacy_sync.mapping.document import ValuePath
from legacy_sync.mapping.model import ComposePart, FieldMapping, Found, Mapping, Match
from legacy_sync.mapping.suggest import did_you_mean, name_all

_OF_VALUES = ("cast", "separator", "prefix", "suffix", "default", "optional")
"""words about a value that comes from the record itself"""
_OF_FIELDS = (*_OF_VALUES, "required", "if_null", "if_invalid", "compose", "erp_rule")
"""words about a column that is no reference; a reference has its own for every case"""

_INSTEAD = {
    "required": 'write "if_missing: park" there',
    "default": "give it to the value that is looked for",
    "if_null": 'write "if_missing" there',
    "if_invalid": 'write "if_missing" there',
}
_NOT_YET = "choose a column with a value from the record: references are looked up, and texts composed, later"


class Finding(NamedTuple):
    """Something that cannot be, at a path inside the mapping."""

    path: ValuePath
    what: str
    next_step: str


def check_links(mapping: Mapping) -> Iterator[Finding]:
    """Everything about references, suffixes, compositions and derived columns."""
    yield from _check_references(mapping)
    yield from _check_circle(mapping)
    yield from _check_words_without_effect(mapping)
    yield from _check_late_columns(mapping)
    yield from _check_shapes(mapping)


def must_be_mapped(mapping: Mapping, column: str, path: ValuePath) -> Iterator[Finding]:
    """A finding if the column is none of `fields`."""
    if column not in mapping.fields:
        otherwise = f'map it in "fields", or choose one of {name_all(mapping.columns)}'
        yield Finding(path, f'column "{column}" is not mapped', did_you_mean(column, mapping.columns, otherwise))


def must_be_reference(mapping: Mapping, column: str, path: ValuePath) -> Iterator[Finding]:
    """A finding if the column is no reference."""
    references = [name for name, field in mapping.fields.items() if field.reference]
    if column not in references:
        otherwise = f"choose one of {name_all(references)}" if references else 'map a column with "reference"'
        yield Finding(path, f'column "{column}" is no reference', did_you_mean(column, references, otherwise))


def _check_references(mapping: Mapping) -> Iterator[Finding]:
    for name, field in mapping.fields.items():
        known = [column for column in mapping.columns if column != name]
        for path, column in _own_columns(field):
            if column not in known:
                what = f'column "{column}" is not mapped to a value of its own'
                next_step = did_you_mean(column, known, f"choose one of {name_all(known)}")
                yield Finding(("fields", name, "reference", *path, "from_column"), what, next_step)
        create = field.reference.create if field.reference else None
        for n, column in enumerate(create.by if create else ()):
            if create and column not in create.values:
                what = f'"{column}" tells created rows apart, but has no value'
                yield Finding(
                    ("fields", name, "reference", "create", "by", n), what, f'add it to "values": {column}: …'
                )


def _own_columns(field: FieldMapping) -> Iterator[tuple[ValuePath, str]]:
    """Where a reference looks for a value of this row."""
    if field.reference is None:
        return
    for n, match in enumerate(field.reference.match):
        if match.from_column:
            yield ("match", n), match.from_column
        for column, found in match.columns.items():
            if found.from_column:
                yield ("match", n, "columns", column), found.from_column
    for column, found in field.reference.create.values.items() if field.reference.create else ():
        if found.from_column:
            yield ("create", "values", column), found.from_column


def _check_circle(mapping: Mapping) -> Iterator[Finding]:
    """References that look for each other's result can never begin."""
    references = {name: field for name, field in mapping.fields.items() if field.reference}
    needs = {
        name: [column for _, column in _own_columns(field) if column in references and column != name]
        for name, field in references.items()
    }
    circle = find_circle(needs)
    if circle:
        path = next(path for path, column in _own_columns(references[circle[0]]) if column == circle[1])
        what = "these references look for each other: " + " → ".join(circle)
        next_step = "let one of them look for values of the record alone"
        yield Finding(("fields", circle[0], "reference", *path, "from_column"), what, next_step)


def find_circle(needs: Dict[str, Sequence[str]]) -> list[str]:
    """Names that wait for each other, first and last the same; empty if there are none."""
    remaining = dict(needs)
    while free := [name for name, before in remaining.items() if not any(b in remaining for b in before)]:
        for name in free:
            del remaining[name]
    if not remaining:
        return []
    path = [next(iter(remaining))]
    while path[-1] not in path[:-1]:
        path.append(next(before for before in remaining[path[-1]] if before in remaining))
    return path[path.index(path[-1]) :]


def _check_words_without_effect(mapping: Mapping) -> Iterator[Finding]:
    for name, field in mapping.fields.items():
        if field.reference is None:
            continue
        path: ValuePath = ("fields", name)
        for word in (w for w in _OF_FIELDS if w in field.model_fields_set):
            what = f'"{word}" has no effect beside "reference"'
            instead = _INSTEAD.get(word, "a value that is looked for has words of its own")
            yield Finding((*path, word), what, f"remove it; {instead}")
        for n, match in enumerate(field.reference.match):
            yield from _check_match(match, (*path, "reference", "match", n))
            for column, found in match.columns.items():
                yield from _check_found(found, (*path, "reference", "match", n, "columns", column))
        for column, found in field.reference.create.values.items() if field.reference.create else ():
            yield from _check_found(found, (*path, "reference", "create", "values", column))


def _check_match(match: Match, path: ValuePath) -> Iterator[Finding]:
    yield from _check_found(match, path)
    if match.compare != "equal" and len(match.columns) > 1:
        what = f'"compare: {match.compare}" compares one column, and there are {len(match.columns)}'
        yield Finding((*path, "compare"), what, 'remove it, or write a single "column"')
    for word in ("compare", "pick") if match.key else ():
        if word in match.model_fields_set and getattr(match, word) not in ("equal", None):
            yield Finding((*path, word), f'"{word}" has no effect beside "key"', "remove it: a key names one record")


def _check_found(found: Found, path: ValuePath) -> Iterator[Finding]:
    for word in _OF_VALUES if found.from_column else ():
        if word in found.model_fields_set:
            what = f'"{word}" has no effect beside "from_column"'
            yield Finding((*path, word), what, "remove it: the value is that of the column")


def _check_late_columns(mapping: Mapping) -> Iterator[Finding]:
    """Composed columns are known after references, rules and suffixes, and one after the other."""
    late = [name for name, field in mapping.fields.items() if field.compose or field.erp_rule]
    references = [name for name, field in mapping.fields.items() if field.reference]
    early: list[tuple[ValuePath, str]] = [
        *(
            (("fields", name, "reference", *path, "from_column"), column)
            for name, field in mapping.fields.items()
            for path, column in _own_columns(field)
        ),
        *((("rules", n, "column"), rule.column) for n, rule in enumerate(mapping.rules)),
        *(
            (("suffixes", n, word, m), column)
            for n, suffix in enumerate(mapping.suffixes)
            for word in ("within", "on")
            for m, column in enumerate(getattr(suffix, word))
        ),
    ]
    for path, column in early:
        if column in late or (path[0] == "rules" and column in references):
            yield Finding(path, f'the value of "{column}" is not known yet in this place', _NOT_YET)
    composed = [name for name in late if mapping.fields[name].compose]
    for name in composed:
        unknown = {*composed[composed.index(name) :], *(n for n in late if mapping.fields[n].erp_rule)}
        for n, composition in enumerate(mapping.fields[name].compose):
            for m, part in enumerate(composition.parts):
                if part.column in unknown and not part.through and not part.to:
                    what = f'the text of "{part.column}" is made after that of "{name}"'
                    next_step = f'write "{part.column}" above "{name}", or compose both of other columns'
                    yield Finding(("fields", name, "compose", n, "parts", m, "column"), what, next_step)


def _check_shapes(mapping: Mapping) -> Iterator[Finding]:
    """Suffixes, derived columns and compositions name columns that are mapped."""
    for n, suffix in enumerate(mapping.suffixes):
        for word in ("within", "on"):
            for m, column in enumerate(getattr(suffix, word)):
                yield from must_be_mapped(mapping, column, ("suffixes", n, word, m))
        yield from must_be_mapped(mapping, suffix.order, ("suffixes", n, "order"))
    for n, derive in enumerate(mapping.derive):
        yield from must_be_reference(mapping, derive.through, ("derive", n, "through"))
    for name, field in mapping.fields.items():
        for n, composition in enumerate(field.compose):
            for m, part in enumerate(composition.parts):
                yield from _check_piece(mapping, part, ("fields", name, "compose", n, "parts", m))
    if mapping.target.rows == "existing" and not mapping.target.natural_key:
        what = "rows that are never inserted must be found, and there is no natural key"
        yield Finding(("target", "rows"), what, 'add "natural_key" to "target"')


def _check_piece(mapping: Mapping, part: ComposePart, path: ValuePath) -> Iterator[Finding]:
    if part.through:
        yield from must_be_reference(mapping, part.through, (*path, "through"))
    if part.column and not part.through and not part.to:
        yield from must_be_mapped(mapping, part.column, (*path, "column"))
    for there, here in part.where.items():
        yield from must_be_mapped(mapping, here, (*path, "where", there))
