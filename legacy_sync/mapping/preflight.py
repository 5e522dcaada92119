"""Does a mapping fit the legacy catalog and the ERP's tables as they are now?

Asked before the first write. A problem stops the entity; a warning is only shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Dict
from types import MappingProxyType

from legacy_sync.erp.catalog import Column, ErpTable
from legacy_sync.errors import Problem
from legacy_sync.mapping.document import ValuePath, dotted
from legacy_sync.mapping.model import (
    BooleanCast,
    Cast,
    Create,
    DateCast,
    DecimalCast,
    FieldMapping,
    IntegerCast,
    Mapping,
    NumberRangePartitions,
    Part,
    Reference,
    Scalar,
    TextCast,
    TimestampCast,
)
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.mapping.suggest import did_you_mean, name_all
from legacy_sync.sources.base import ENVELOPE, KEY, STAMP, TableInfo

FindTable = Callable[[str], ErpTable | None]
NEVER: Dict[str, str] = MappingProxyType({})
"""nothing is known of an earlier catalog"""

_TEXT = ("text", "varchar", "bpchar", "citext", "json", "jsonb", "uuid")
_INTEGER = ("int2", "int4", "int8")
_DECIMAL = ("numeric", "float4", "float8")
_TIMESTAMP = ("timestamptz", "timestamp")
_FITS: dict[str, tuple[str, ...]] = {
    "text": _TEXT,
    "split_last": _TEXT,
    "integer": (*_INTEGER, *_DECIMAL, *_TEXT),
    "decimal": (*_DECIMAL, *_TEXT),
    "boolean": ("bool", *_TEXT),
    "date": ("date", *_TIMESTAMP, *_TEXT),
    "timestamp": (*_TIMESTAMP, *_TEXT),
    "email": _TEXT,
    "slug": _TEXT,
    "hash": _TEXT,
}


def check_mapping(
    mapping: Mapping,
    catalog: dict[str, TableInfo] | None,
    erp: FindTable | None,
    erp_table_names: Callable[[], list[str]],
    last_seen: Dict[str, str] = NEVER,
) -> list[Problem]:
    """Everything that would make a run of this mapping fail; a catalog that is None is not checked.

    `last_seen` has, for attributes that the legacy table had once, when that was, in words.
    """
    legacy = list(_check_legacy(mapping, catalog, last_seen)) if catalog is not None else []
    return legacy + (list(_check_erp(mapping, erp, erp_table_names)) if erp is not None else [])


def find_warnings(mapping: Mapping, erp: FindTable) -> list[Problem]:
    """What works, but less safely than it could."""
    table = erp(mapping.target.table)
    return [*_warn_natural_key(mapping, table), *_warn_nulls(mapping, table)] if table else []


def find_hints(mapping: Mapping, table: TableInfo) -> list[Problem]:
    """What the catalog of a 4D server offers beyond the way in which the mapping finds changes."""
    path: ValuePath = ("change_detection", "strategy")
    if mapping.source.server != FOUR_D:
        return []
    if mapping.strategy == "timestamp" and STAMP in table.names:
        what = f'4D counts the changes of "{table.name}", but they are looked for by {mapping.source.cursor}'
        next_step = "`strategy: global_stamp` also finds deleted rows and those saved without a new date"
        return [legacy_problem(mapping, path, what, next_step)]
    if mapping.strategy == "global_stamp" and STAMP not in table.names:
        what = f'4D does not count the changes of "{table.name}", so every run reads all rows'
        next_step = 'switch on "Enable data change tracking" for the table in 4D, or write `strategy: timestamp`'
        return [legacy_problem(mapping, path, what, next_step)]
    if mapping.strategy == "timestamp" and not mapping.full_every:
        what = f"rows saved without a new {mapping.source.cursor} are not found"
        next_step = "add `full_every: 7d` to change_detection, so that all rows are read from time to time"
        return [legacy_problem(mapping, path, what, next_step)]
    return []


def default_cast(column: Column) -> Cast:
    """The cast that fits a column when the mapping names none."""
    if column.type in _INTEGER:
        return IntegerCast()
    if column.type in _DECIMAL:
        return DecimalCast()
    if column.type == "bool":
        return BooleanCast()
    if column.type == "date":
        return DateCast()
    if column.type in _TIMESTAMP:
        return TimestampCast()
    return TextCast()


def _warn_natural_key(mapping: Mapping, table: ErpTable) -> Iterator[Problem]:
    key = set(mapping.target.natural_key)
    if not key or key == set(table.primary_key):
        return
    if not any(set(unique.columns) <= key and unique.predicate is None for unique in table.uniques):
        what = f"the ERP does not keep {' + '.join(mapping.target.natural_key)} unique"
        next_step = "rows that occur twice cannot be adopted and are parked; choose unique columns if there are any"
        yield _erp_problem(mapping, ("target", "natural_key"), what, next_step)


def _warn_nulls(mapping: Mapping, table: ErpTable) -> Iterator[Problem]:
    """on_insert fills only what was not delivered; a null that was delivered parks the row."""
    for name, field in mapping.fields.items():
        column = table.columns.get(name)
        if column is None or column.nullable or field.if_null == "keep" or name not in mapping.target.on_insert:
            continue
        if field.reference is None and not field.required and field.default is None and field.value is None:
            what = f'a legacy null parks the row: ERP column "{name}" must not be null'
            next_step = f"add `default: {_example(column)}` or `if_null: keep` if such rows should be loaded"
            yield _erp_problem(mapping, ("fields", name), what, next_step)


# --- the legacy side ---------------------------------------------------------------------------


def _check_legacy(mapping: Mapping, catalog: dict[str, TableInfo], last_seen: Dict[str, str]) -> Iterator[Problem]:
    table = catalog.get(mapping.source.table)
    if table is None:
        what = f'the legacy server has no table "{mapping.source.table}"'
        next_step = did_you_mean(mapping.source.table, catalog, f"choose one of {name_all(catalog)}")
        yield legacy_problem(mapping, ("source", "table"), what, next_step)
        return
    for path, spellings in attributes_read(mapping):
        if mapping.source.explode and (path[0] in ("fields", "rules") or path == ("source", "key")):
            continue  # the catalog does not know the records inside a list
        if not any(name in table.names or name in (*ENVELOPE, STAMP) for name in spellings):
            yield _missing_attribute(mapping, table, path, spellings, last_seen)


def attributes_read(mapping: Mapping) -> Iterator[tuple[ValuePath, tuple[str, ...]]]:
    """Every place that reads an attribute, with the spellings of which one must exist."""
    for name in mapping.source.key:
        yield ("source", "key"), (name,)
    if mapping.source.cursor:
        yield ("source", "cursor"), (mapping.source.cursor,)
    if any(mapping.policy_of(column) == "newest_wins" for column in mapping.columns):
        yield ("conflicts", "legacy_modified"), (mapping.conflicts.legacy_modified,)
    for attribute, words in mapping.source.where.items():
        if "" not in words:
            yield ("source", "where", attribute), (attribute,)
    for n, name in enumerate(mapping.source.other_keys):
        yield ("source", "other_keys", n), (name,)
    if mapping.source.explode:
        yield ("source", "explode", "attribute"), (mapping.source.explode.attribute,)
    if mapping.unit:
        yield ("unit", "key"), (mapping.unit.key,)
    if isinstance(mapping.partitions, NumberRangePartitions):
        yield ("partitions", "attribute"), (mapping.partitions.attribute,)
    for n, rule in enumerate(mapping.rules):
        if rule.equals:
            yield ("rules", n, "equals"), (rule.equals,)
    for column, field in mapping.fields.items():
        yield from _read_by(field, ("fields", column))
        if field.reference:
            yield from _read_by_reference(field.reference, ("fields", column, "reference"))


def _read_by(part: Part, path: ValuePath) -> Iterator[tuple[ValuePath, tuple[str, ...]]]:
    if part.from_ and not part.optional:
        yield (*path, "from"), part.from_
    for n, inner in enumerate(part.first_of):
        yield from _read_by(inner, (*path, "first_of", n))
    for n, inner in enumerate(part.join):
        yield from _read_by(inner, (*path, "join", n))
    for name, inner in part.compute.inputs.items() if part.compute else ():
        yield from _read_by(inner, (*path, "compute", "inputs", name))


def _read_by_reference(reference: Reference, path: ValuePath) -> Iterator[tuple[ValuePath, tuple[str, ...]]]:
    for n, match in enumerate(reference.match):
        yield from _read_by(match, (*path, "match", n))
        for column, found in match.columns.items():
            yield from _read_by(found, (*path, "match", n, "columns", column))
    for column, found in reference.create.values.items() if reference.create else ():
        yield from _read_by(found, (*path, "create", "values", column))


def _missing_attribute(
    mapping: Mapping, table: TableInfo, path: ValuePath, spellings: tuple[str, ...], last_seen: Dict[str, str]
) -> Problem:
    quoted = " or ".join(f'"{name}"' for name in spellings)
    known = [*table.names, *ENVELOPE, STAMP]
    otherwise = f"remove the field or map its new name, then run `legacy-sync check {mapping.entity}`"
    seen = next((f" ({last_seen[name]})" for name in spellings if name in last_seen), "")
    what = f'legacy table "{table.name}" has no column {quoted}{seen}'
    return legacy_problem(mapping, path, what, did_you_mean(spellings[0], known, otherwise))


# --- the ERP side ------------------------------------------------------------------------------


def _check_erp(mapping: Mapping, erp: FindTable, names: Callable[[], list[str]]) -> Iterator[Problem]:
    table = erp(mapping.target.table)
    if table is None:
        yield _missing_table(mapping, ("target", "table"), mapping.target.table, names())
        return
    yield from _check_columns_exist(mapping, table)
    yield from _check_not_null(mapping, table)
    for name, field in mapping.fields.items():
        column = table.columns.get(name)
        if column:
            yield from _check_field(mapping, column, field)
    for name, reference in _references(mapping):
        yield from _check_reference(mapping, table, name, reference, erp, names)
    yield from _check_compositions(mapping, table, erp, names)
    yield from _check_suffixes(mapping, table)
    yield from _check_literals(mapping, table)


def _missing_table(mapping: Mapping, path: ValuePath, table: str, known: list[str]) -> Problem:
    otherwise = "check ERP_DATABASE_URL, and whether pyERP's migrations were applied"
    return _erp_problem(mapping, path, f'the ERP has no table "{table}"', did_you_mean(table, known, otherwise))


def _check_columns_exist(mapping: Mapping, table: ErpTable) -> Iterator[Problem]:
    target = mapping.target
    named: list[tuple[ValuePath, str]] = [
        *((("fields", name), name) for name in mapping.columns),
        *((("target", "owned_by_erp", n), name) for n, name in enumerate(target.owned_by_erp)),
        *((("target", "on_insert", name), name) for name in target.on_insert),
        *((("target", "natural_key", n), name) for n, name in enumerate(target.natural_key)),
        *((("deletes", "set", name), name) for name in mapping.deletes.set),
    ]
    if target.created_at:
        named.append((("target", "created_at"), target.created_at))
    if target.updated_at:
        named.append((("target", "updated_at"), target.updated_at))
    for path, column in named:
        if column not in table.columns:
            yield _missing_column(mapping, path, table, column)


def _missing_column(mapping: Mapping, path: ValuePath, table: ErpTable, column: str) -> Problem:
    what = f'ERP table "{table.name}" has no column "{column}"'
    otherwise = f"remove it or name its new column; there are {name_all(table.columns)}"
    return _erp_problem(mapping, path, what, did_you_mean(column, table.columns, otherwise))


def _check_not_null(mapping: Mapping, table: ErpTable) -> Iterator[Problem]:
    target = mapping.target
    if target.rows == "existing":
        return
    filled = {*mapping.columns, *target.on_insert, target.created_at, target.updated_at}
    for column in table.columns.values():
        if column.nullable or column.has_default or column.is_identity or column.name in filled:
            continue
        if column.name in table.primary_key and column.type == "uuid":
            continue
        what = f'ERP column "{column.name}" must not be null, but nothing fills it in a new row'
        next_step = f'map it in "fields", or add `{column.name}: {_example(column)}` to target.on_insert'
        yield _erp_problem(mapping, ("target", "on_insert"), what, next_step)


def _check_field(mapping: Mapping, column: Column, field: FieldMapping) -> Iterator[Problem]:
    if not column.nullable and not _is_never_null(mapping, column.name, field):
        what = f'ERP column "{column.name}" must not be null, but the legacy value may be'
        next_step = f"add `default: {_example(column)}` or `required: true`"
        yield _erp_problem(mapping, ("fields", column.name), what, next_step)
    is_filled = field.required or field.default is not None or bool(field.compose)
    if not column.nullable and field.if_invalid == "default" and not is_filled:
        what = f'ERP column "{column.name}" must not be null, but an invalid value becomes the default, which is null'
        next_step = f"add `default: {_example(column)}`, or write `if_invalid: park`"
        yield _erp_problem(mapping, ("fields", column.name, "if_invalid"), what, next_step)
    if field.cast:
        yield from _check_cast(mapping, column, field.cast[-1], ("fields", column.name, "cast"))


def _is_never_null(mapping: Mapping, column: str, field: FieldMapping) -> bool:
    if field.reference:
        return field.required or field.reference.if_missing != "null"
    if field.compose or field.erp_rule:
        return True  # parked where nothing is known
    return (
        field.required
        or field.value is not None
        or field.default is not None
        or mapping.target.on_insert.get(column) is not None
        or set(field.attributes) == {KEY}
    )


def _check_cast(mapping: Mapping, column: Column, cast: Cast, path: ValuePath) -> Iterator[Problem]:
    fitting = _FITS.get(cast.type)  # other casts give texts that are read as the column needs them
    if fitting is None or column.type in fitting or column.type not in _known_types():
        return
    what = f'cast "{cast.type}" does not fit ERP column "{column.name}", which is {column.full_type}'
    yield _erp_problem(mapping, path, what, _better_cast(cast, column))


def _better_cast(cast: Cast, column: Column) -> str:
    fitting = default_cast(column).type
    if cast.type == "split_last":
        return f'add a cast behind it: "- {fitting}"'
    if cast.type == "decimal" and fitting == "integer":
        return "write cast: {type: integer, rounding: truncate} (or half_up)"
    return f'write "cast: {fitting}", or remove the cast'


def _known_types() -> set[str]:
    """Types of which we know what fits; any other is left to the database."""
    return {kind for kinds in _FITS.values() for kind in kinds}


def _references(mapping: Mapping) -> Iterator[tuple[str, Reference]]:
    for name, field in mapping.fields.items():
        if field.reference:
            yield name, field.reference


def _check_reference(
    mapping: Mapping,
    table: ErpTable,
    name: str,
    reference: Reference,
    erp: FindTable,
    names: Callable[[], list[str]],
) -> Iterator[Problem]:
    path: ValuePath = ("fields", name, "reference")
    parent = erp(reference.to)
    if parent is None:
        yield _missing_table(mapping, (*path, "to"), reference.to, names())
        return
    for key in table.foreign_keys:
        if key.column == name and key.to_table != parent.name:
            what = f'in the ERP "{name}" refers to table "{key.to_table}", not to "{parent.name}"'
            yield _erp_problem(mapping, (*path, "to"), what, f'write "to: {key.to_table}"')
    for n, match in enumerate(reference.match):
        for column in () if match.key else match.values:
            yield from _check_path(mapping, (*path, "match", n, "column"), parent, column, erp)
        if match.pick:
            yield from _check_path(mapping, (*path, "match", n, "pick"), parent, match.pick, erp)
    if reference.create:
        yield from _check_create(mapping, (*path, "create"), parent, reference.create)
    for n, derive in enumerate(mapping.derive):
        if derive.through == name and derive.into not in parent.columns:
            yield _missing_column(mapping, ("derive", n, "into"), parent, derive.into)
    for n, backfill in enumerate(mapping.backfill):
        if backfill.through == name and backfill.into not in parent.columns:
            yield _missing_column(mapping, ("backfill", n, "into"), parent, backfill.into)


def _check_path(mapping: Mapping, path: ValuePath, table: ErpTable, column: str, erp: FindTable) -> Iterator[Problem]:
    """A column, or one behind references such as `box_id.code`."""
    *through, name = column.split(".")
    at = table
    for reference in through:
        key = next((k for k in at.foreign_keys if k.column == reference), None)
        there = erp(key.to_table) if key else None
        if there is None:
            what = f'ERP table "{at.name}" has no reference "{reference}"'
            known = name_all([k.column for k in at.foreign_keys])
            yield _erp_problem(mapping, path, what, f"choose one of {known}")
            return
        at = there
    if name not in at.columns:
        yield _missing_column(mapping, path, at, name)


def _check_create(mapping: Mapping, path: ValuePath, table: ErpTable, create: Create) -> Iterator[Problem]:
    for name in (*create.values, create.created_at, create.updated_at):
        if name and name not in table.columns:
            yield _missing_column(mapping, (*path, "values", name), table, name)
    for name, found in create.values.items():
        column_or_none = table.columns.get(name)
        for word, value in (("value", found.value), ("default", found.default)):
            if column_or_none and value is not None and (reason := _misfit(value, column_or_none)):
                what = f'{_shown(value)} does not fit "{table.name}.{name}": {reason}'
                next_step = f"write a value such as {_example(column_or_none)}"
                yield _erp_problem(mapping, (*path, "values", name, word), what, next_step)
    filled = {*create.values, create.created_at, create.updated_at}
    for column in table.columns.values():
        is_key = column.name in table.primary_key and column.type == "uuid"
        if column.nullable or column.has_default or column.name in filled or is_key:
            continue
        what = f'"{table.name}.{column.name}" must not be null, but nothing fills it in a created row'
        yield _erp_problem(mapping, (*path, "values"), what, f"add `{column.name}: {{value: {_example(column)}}}`")


def _check_compositions(
    mapping: Mapping, table: ErpTable, erp: FindTable, names: Callable[[], list[str]]
) -> Iterator[Problem]:
    for name, field in mapping.fields.items():
        for n, composition in enumerate(field.compose):
            for m, part in enumerate(composition.parts):
                path: ValuePath = ("fields", name, "compose", n, "parts", m)
                reference = mapping.fields[part.through].reference if part.through in mapping.fields else None
                to = part.to or (reference.to if reference else None)
                there = erp(to) if to else table
                if there is None:
                    yield _missing_table(mapping, (*path, "to"), str(to), names())
                elif part.column and part.column not in there.columns:
                    yield _missing_column(mapping, (*path, "column"), there, part.column)
                for column in part.where if there else ():
                    if there and column not in there.columns:
                        yield _missing_column(mapping, (*path, "where"), there, column)


def _check_suffixes(mapping: Mapping, table: ErpTable) -> Iterator[Problem]:
    for n, suffix in enumerate(mapping.suffixes):
        for m, name in enumerate(suffix.on):
            column = table.columns.get(name)
            if column and column.type not in _TEXT:
                what = f'a suffix cannot stand in "{name}", which is {column.full_type}'
                yield _erp_problem(mapping, ("suffixes", n, "on", m), what, "choose a text column")


def _check_literals(mapping: Mapping, table: ErpTable) -> Iterator[Problem]:
    literals: list[tuple[ValuePath, str, Scalar]] = [
        *((("target", "on_insert", name), name, value) for name, value in mapping.target.on_insert.items()),
        *((("deletes", "set", name), name, value) for name, value in mapping.deletes.set.items()),
        *(
            (("fields", name, "default"), name, f.default)
            for name, f in mapping.fields.items()
            if f.default is not None
        ),
        *((("fields", name, "value"), name, f.value) for name, f in mapping.fields.items() if f.value is not None),
    ]
    for path, name, value in literals:
        column = table.columns.get(name)
        if column and (reason := _misfit(value, column)):
            what = f'{_shown(value)} does not fit ERP column "{name}": {reason}'
            yield _erp_problem(mapping, path, what, f"write a value such as {_example(column)}")


def _misfit(value: Scalar, column: Column) -> str | None:
    """Why a literal cannot be stored; None if it can, or if only the database knows."""
    if value is None:
        return None if column.nullable else "the column must not be null"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if column.type == "bool" and not isinstance(value, bool) and str(value).lower() not in ("true", "false"):
        return "it is boolean"
    if column.type in _INTEGER and not (is_number and float(value) == int(value)) and not _is_whole(value):
        return f"it is {column.full_type}"
    if column.type in _DECIMAL and not is_number and not _is_decimal(value):
        return f"it is {column.full_type}"
    if column.max_length is not None and len(str(value)) > column.max_length:
        return f"it holds {column.max_length} characters"
    return None


def _is_whole(value: Scalar) -> bool:
    return isinstance(value, str) and value.strip().lstrip("+-").isdecimal()


def _is_decimal(value: Scalar) -> bool:
    return isinstance(value, str) and value.strip().lstrip("+-").replace(".", "", 1).isdecimal()


def _example(column: Column) -> str:
    examples = {"boolean": "false", "integer": "0", "decimal": "0", "date": '"2024-01-01"', "timestamp": '"2024-01-01"'}
    return examples.get(default_cast(column).type, '""')


def _shown(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else "null" if value is None else str(value)


def legacy_problem(mapping: Mapping, path: ValuePath, what: str, next_step: str) -> Problem:
    """What is wrong between a mapping and the legacy catalog, with the place in the mapping."""
    return Problem(what, f"preflight, mapping {mapping.entity}, {dotted(path)}, legacy catalog", next_step)


def _erp_problem(mapping: Mapping, path: ValuePath, what: str, next_step: str) -> Problem:
    return Problem(what, f"preflight, mapping {mapping.entity}, {dotted(path)}, ERP catalog", next_step)
