"""Do the words of a mapping fit each other? Everything that can be said without any catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from zoneinfo import available_timezones

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.mapping.clock import cron_error, is_zone
from legacy_sync.mapping.document import ValuePath
from legacy_sync.mapping.links import Finding, check_links, must_be_mapped, must_be_reference
from legacy_sync.mapping.model import (
    Cast,
    Compute,
    DateCast,
    FieldMapping,
    KeyRangePartitions,
    Mapping,
    Match,
    Part,
    ReplaceCast,
    TimestampCast,
    WindowPartitions,
)
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.mapping.suggest import did_you_mean, name_all
from legacy_sync.pyerp import DERIVED, ERP_RULES, RULES
from legacy_sync.sources.base import ENVELOPE, KEY

_ONE_ROW = pa.nulls(1, pa.string())  # without a row Arrow does not look at the pattern; a text would import pandas


def check_words(mapping: Mapping) -> Iterator[Finding]:
    """Every contradiction within one mapping."""
    yield from _check_ownership(mapping)
    yield from _check_mapped_names(mapping)
    yield from _check_change_detection(mapping)
    yield from _check_conflicts(mapping)
    yield from _check_deletes(mapping)
    yield from _check_rules(mapping)
    yield from _check_schedule(mapping)
    yield from _check_timezones(mapping)
    yield from check_links(mapping)
    yield from _check_pyerp_rules(mapping)


def check_dependencies(mapping: Mapping, entities: Iterable[str]) -> Iterator[Finding]:
    """Names in depends_on and schedule.only_after that are no other entity."""
    known = [name for name in entities if name != mapping.entity]
    only_after = mapping.schedule.only_after if mapping.schedule else ()
    for path, verb, names in ((("depends_on",), "depends on", mapping.depends_on),
                              (("schedule", "only_after"), "waits for", only_after)):  # fmt: skip
        for n, name in enumerate(names):
            if name == mapping.entity:
                yield Finding((*path, n), f"{name} {verb} itself", "remove the line")
            elif name not in known:
                next_step = did_you_mean(name, known, f"choose one of {name_all(known)}")
                yield Finding((*path, n), f'"{name}" is no entity', next_step)


def _check_ownership(mapping: Mapping) -> Iterator[Finding]:
    target = mapping.target
    for n, column in enumerate(target.owned_by_erp):
        if column in mapping.fields:
            what = f'column "{column}" is mapped, but also belongs to the ERP'
            yield Finding(("target", "owned_by_erp", n), what, 'remove it from "fields" or from "owned_by_erp"')
    for word, column_or_none in (("created_at", target.created_at), ("updated_at", target.updated_at)):
        if column_or_none in mapping.fields:
            what = f'column "{column_or_none}" is mapped, but also gets the time of the write'
            yield Finding(("target", word), what, f'remove it from "fields", or remove "{word}"')


def _check_mapped_names(mapping: Mapping) -> Iterator[Finding]:
    for n, column in enumerate(mapping.target.natural_key):
        yield from must_be_mapped(mapping, column, ("target", "natural_key", n))
    for n, rule in enumerate(mapping.rules):
        yield from must_be_mapped(mapping, rule.column, ("rules", n, "column"))
    for n, backfill in enumerate(mapping.backfill):
        yield from must_be_mapped(mapping, backfill.column, ("backfill", n, "column"))
        yield from must_be_reference(mapping, backfill.through, ("backfill", n, "through"))


def _check_pyerp_rules(mapping: Mapping) -> Iterator[Finding]:
    """Rules of pyERP that exist, with what they ask for."""
    for name, field in mapping.fields.items():
        for path, compute in _computed(field, ("fields", name)):
            yield from _check_compute(compute, path)
        if field.erp_rule is not None:
            yield from _must_be_rule(field.erp_rule, ERP_RULES, ("fields", name, "erp_rule"))
            if mapping.target.rows != "existing":
                what = "a rule on the ERP row works only for rows that exist"
                yield Finding(("fields", name, "erp_rule"), what, 'write "rows: existing" in "target"')
    for n, derive in enumerate(mapping.derive):
        yield from _must_be_rule(derive.rule, DERIVED, ("derive", n, "rule"))


def _check_compute(compute: Compute, path: ValuePath) -> Iterator[Finding]:
    yield from _must_be_rule(compute.rule, RULES, (*path, "rule"))
    rule = RULES.get(compute.rule)
    if rule is None:
        return
    for word, given, known in (("inputs", compute.inputs, rule.inputs), ("options", compute.options, rule.options)):
        for name in given:
            if name not in known:
                what = f'the rule "{compute.rule}" has no {word[:-1]} "{name}"'
                otherwise = f"choose one of {name_all(list(known))}" if known else f'remove "{word}"'
                yield Finding((*path, word, name), what, did_you_mean(name, known, otherwise))


def _must_be_rule(name: str, known: Iterable[str], path: ValuePath) -> Iterator[Finding]:
    if name not in known:
        next_step = did_you_mean(name, list(known), f"choose one of {name_all(list(known))}")
        yield Finding(path, f'pyERP has no rule "{name}" of this kind', next_step)


def _computed(part: Part, path: ValuePath) -> Iterator[tuple[ValuePath, Compute]]:
    """Every rule a value uses, at any depth, those of its reference included."""
    if part.compute:
        yield (*path, "compute"), part.compute
    for inner_path, inner in _inner_parts(part, path):
        yield from _computed(inner, inner_path)


def _inner_parts(part: Part, path: ValuePath) -> Iterator[tuple[ValuePath, Part]]:
    for word in ("first_of", "join"):
        for n, inner in enumerate(getattr(part, word)):
            yield (*path, word, n), inner
    for name, inner in part.compute.inputs.items() if part.compute else ():
        yield (*path, "compute", "inputs", name), inner
    reference = part.reference if isinstance(part, FieldMapping) else None
    for n, match in enumerate(reference.match if reference else ()):
        yield (*path, "reference", "match", n), match
    for column, found in part.columns.items() if isinstance(part, Match) else ():
        yield (*path, "columns", column), found
    for column, found in reference.create.values.items() if reference and reference.create else ():
        yield (*path, "reference", "create", "values", column), found


def _check_change_detection(mapping: Mapping) -> Iterator[Finding]:
    cursor = mapping.source.cursor
    if cursor in ENVELOPE and mapping.source.server == FOUR_D:
        what = f'4D cannot select by "{cursor}", which is no attribute of the table'
        yield Finding(
            ("source", "cursor"), what, 'write "cursor: modified_date", or "strategy: global_stamp" without it'
        )
    if isinstance(mapping.partitions, WindowPartitions) and cursor is None:
        what = "windows need a cursor, and the source has none"
        yield Finding(("partitions",), what, 'add "cursor: modified_date" to "source", or use "type: none"')
    if isinstance(mapping.partitions, KeyRangePartitions) and len(mapping.source.key) != 1:
        what = f"key ranges need a key of one attribute; this one has {len(mapping.source.key)}"
        yield Finding(("partitions",), what, 'use "type: window" or "type: none", or a single key')
    if mapping.strategy == "global_stamp":
        yield from _check_tombstones(mapping)
    if mapping.strategy != "timestamp":
        return
    if cursor is None:
        what = 'the strategy "timestamp" needs a cursor, and the source has none'
        next_step = 'add "cursor: modified_date" to "source", or use "strategy: fingerprint"'
        yield Finding(("change_detection", "strategy"), what, next_step)
    elif mapping.lookback < timedelta(days=1):
        what = f'"{cursor}" has no time of day, so a lookback below 1d would miss changes'
        yield Finding(("change_detection", "lookback"), what, "write lookback: 1d or more")


def _check_tombstones(mapping: Mapping) -> Iterator[Finding]:
    """4D says which records were deleted, by their own key and no other."""
    if mapping.deletes.policy != "ignore" and not _has_own_key(mapping) and mapping.full_every is None:
        what = f"4D tells deleted records by {KEY}, and the key of this mapping is another: deletes go unnoticed"
        next_step = 'add "full_every: 1d" to "change_detection", or write "policy: ignore" in "deletes"'
        yield Finding(("deletes", "policy"), what, next_step)


def _has_own_key(mapping: Mapping) -> bool:
    """Whether rows are known by the keys that the source itself gives its records."""
    source = mapping.source
    return source.key == (KEY,) and not source.key_cast and source.explode is None


def _check_conflicts(mapping: Mapping) -> Iterator[Finding]:
    if mapping.target.updated_at is not None:
        return
    what = 'the policy "newest_wins" needs the time of the last change in the ERP'
    next_step = "name the column in target.updated_at, or choose another policy"
    if mapping.conflicts.policy == "newest_wins":
        yield Finding(("conflicts", "policy"), what, next_step)
    for name, field in mapping.fields.items():
        if field.conflict == "newest_wins":
            yield Finding(("fields", name, "conflict"), what, next_step)


def _check_deletes(mapping: Mapping) -> Iterator[Finding]:
    deletes = mapping.deletes
    if deletes.policy == "set" and not deletes.set:
        next_step = 'add the columns of the soft delete, such as "set: {is_active: false}"'
        yield Finding(("deletes", "policy"), 'the policy "set" does not say what to set', next_step)
    if deletes.set and deletes.policy != "set":
        what = f'"set" has no effect while the policy is "{deletes.policy}"'
        yield Finding(("deletes", "set"), what, 'write "policy: set", or remove "set"')
    for column in deletes.set:
        if column in mapping.target.natural_key:
            what = f'"{column}" is part of the natural key, by which the row would not be found again'
            yield Finding(("deletes", "set", column), what, "choose another column of the soft delete")
    if deletes.edited and deletes.policy not in ("set", "delete"):
        what = f'"edited" has no effect while the policy is "{deletes.policy}", which changes no row'
        yield Finding(("deletes", "edited"), what, 'write "policy: set" or "policy: delete", or remove "edited"')
    if deletes.in_erp == "legacy_wins" and mapping.unit:
        what = f'rows of "{mapping.unit.name}" belong together, and one of them cannot come back alone'
        yield Finding(("deletes", "in_erp"), what, 'write "manual" or "erp_wins"')
    if deletes.sweep is None:
        return
    if deletes.policy == "ignore":
        next_step = 'write what to do with missing rows, such as "policy: report", or remove "sweep"'
        yield Finding(("deletes", "sweep"), 'a sweep has no effect while the policy is "ignore"', next_step)
    elif not _has_own_key(mapping):
        what = f"a sweep compares {KEY}, and the key of this mapping is another"
        next_step = 'remove "sweep" and add "full_every: 1d" to "change_detection"'
        yield Finding(("deletes", "sweep"), what, next_step)
    elif mapping.strategy == "fingerprint":
        what = 'a sweep has no effect with the strategy "fingerprint", which reads all rows every time'
        yield Finding(("deletes", "sweep"), what, 'remove "sweep"')


def _check_rules(mapping: Mapping) -> Iterator[Finding]:
    for n, rule in enumerate(mapping.rules):
        if rule.matches is not None and (reason := _regex_error(rule.matches)):
            what = f'"{rule.matches}" is no regular expression: {reason}'
            next_step = "correct it; RE2 knows no look-ahead and no back references"
            yield Finding(("rules", n, "matches"), what, next_step)
        if rule.min is not None and rule.max is not None and rule.min > rule.max:
            what = f"min {rule.min:g} is above max {rule.max:g}, so every row would break the rule"
            yield Finding(("rules", n, "min"), what, "swap the two")
    names = [rule.name for rule in mapping.rules]
    for n, name in enumerate(names):
        if name in names[:n]:
            yield Finding(("rules", n, "name"), f'a rule "{name}" exists already', "give each rule its own name")


def _regex_error(pattern: str) -> str | None:
    try:
        pc.match_substring_regex(_ONE_ROW, pattern)
    except pa.ArrowInvalid as error:
        return str(error).split("RE2: ")[-1].split("regular expression: ")[-1]
    return None


def _check_schedule(mapping: Mapping) -> Iterator[Finding]:
    schedule = mapping.schedule
    if schedule is None:
        return
    if schedule.every is not None and schedule.every < timedelta(minutes=1):
        yield Finding(("schedule", "every"), "an interval below one minute is too short", "write every: 1m or more")
    if schedule.cron is not None and (reason := cron_error(schedule.cron)):
        next_step = 'write minute, hour, day, month and weekday, such as "0 2 * * *" for 02:00 every day'
        yield Finding(("schedule", "cron"), f'"{schedule.cron}" is no cron line: {reason}', next_step)


def _check_timezones(mapping: Mapping) -> Iterator[Finding]:
    if isinstance(mapping.partitions, WindowPartitions):
        yield from _check_zone(("partitions", "timezone"), mapping.partitions.timezone)
    if mapping.schedule:
        yield from _check_zone(("schedule", "timezone"), mapping.schedule.timezone)
    for name, field in mapping.fields.items():
        for path, cast in _casts_of(field, ("fields", name)):
            if isinstance(cast, DateCast | TimestampCast):
                yield from _check_zone((*path, "timezone"), cast.timezone)
            if isinstance(cast, ReplaceCast) and (reason := _regex_error(cast.pattern)):
                what = f'"{cast.pattern}" is no regular expression: {reason}'
                yield Finding((*path, "pattern"), what, "correct it; RE2 knows no look-ahead and no back references")


def _casts_of(part: Part, path: ValuePath) -> Iterator[tuple[ValuePath, Cast]]:
    for n, cast in enumerate(part.cast):
        yield (*path, "cast", n), cast
    for inner_path, inner in _inner_parts(part, path):
        yield from _casts_of(inner, inner_path)


def _check_zone(path: ValuePath, name: str) -> Iterator[Finding]:
    if not is_zone(name):
        otherwise = 'write an IANA name such as "Europe/Berlin" or "UTC"'
        yield Finding(path, f'"{name}" is no time zone', did_you_mean(name, available_timezones(), otherwise))
