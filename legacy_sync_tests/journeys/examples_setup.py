"""How does a recorded example read, and what came of it?

The data files `examples_<area>.yaml` carry the facts over in these words:

    table           4D table; its mapping is the one under test
    entity          the mapping, where several read that table
    record          a 4D record, or `records`; `runs` are lists of records, each saved days after the last run
                    without __KEY a record gets one, as a server always sends it
    before          records of other 4D tables that are loaded first: {table: [records]}
    afterwards      4D tables of `before` that are loaded once more at last
    given           ERP rows that are there before; what they may not leave out is filled in
    expect          columns of the one row, or a list of rows; without it no row may be written
    instead         columns in which we deviate on purpose: {column: [our value, number in docs/deviations.md]}
    instead_rows    [rows, number]: the rows that we write instead of what was recorded
    instead_parked  [reason, number]: why we park what was recorded as written
    parked          why the record waits; without it and without rows it is ignored
    after           other ERP rows afterwards: [{table: …, where: {…}, expect: {…}}]
    counts          counts of the last run; `instead_counts` as above
    warnings        warnings of the last run, by text; `violations` of rules, by name

A group of `conversions` is about one `column`, or several, which the facts then name. Its values are
{id: [value of its `attributes`, what becomes of it]}, or [value, recorded, ours, number] where we deviate. Each value
has a record of its own, whose `numbered` attributes count up, and with `given_each` an ERP row of that number;
`exploded` makes them items of one record. `parked <reason>` stands for a record that waits.

A mapping as value is the row a reference points to, by some of its columns. `~text` is a regular expression,
`now` a moment of this test.
"""

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

from desk_setup import ENTITIES, Desk, Row
from journey_setup import key_of
from ruamel.yaml import YAML

Facts = dict[str, Any]


def read_facts(area: str) -> Facts:
    """The data file of one area."""
    facts: Facts = YAML(typ="safe").load(Path(__file__).with_name(f"examples_{area}.yaml"))
    return facts


def named(example: Facts) -> str:
    """The id of an example, for the names of its tests."""
    return str(example["id"])


def play(desk: Desk, example: Facts) -> tuple[Facts, Facts]:
    """Runs an example; returns what came of it and what had to, in one form."""
    desk.give(_flat(deepcopy(example.get("given", []))))
    runs = example.get("runs") or [example.get("records") or [example["record"]]]
    before, afterwards = example.get("before"), example.get("afterwards", ())
    entity = example.get("entity", ENTITIES[example["table"]])
    report = desk.run(example["table"], runs, before, afterwards=afterwards, entity=entity)
    wanted = wanted_rows(example)
    rows = list(desk.written(entity).values())
    counts = example.get("counts", {}) | {n: ours for n, (ours, _) in example.get("instead_counts", {}).items()}
    others = example.get("after", [])
    found = {
        "rows": [shown(row, want) for row, want in zip_longest(rows, wanted, fillvalue={})],
        "parked": dict(report.parked_by_reason),
        "counts": {name: getattr(report.counts, name) for name in counts},
        "warnings": {name: report.warnings.get(name, 0) for name in example.get("warnings", ())},
        "violations": {name: report.rule_violations.get(name, 0) for name in example.get("violations", ())},
        "after": [
            [shown(row, other["expect"]) for row in desk.rows(other["table"]) if _has(row, other["where"])]
            for other in others
        ],
    }
    return found, {
        "rows": plain(wanted),
        "parked": parked_by_reason(example),
        "counts": counts,
        "warnings": example.get("warnings", {}),
        "violations": example.get("violations", {}),
        "after": [[plain(other["expect"])] for other in others],
    }


def wanted_rows(example: Facts) -> list[Row]:
    """The rows that an example must leave."""
    if "instead_rows" in example:
        return list(example["instead_rows"][0])
    if "instead_parked" in example or example.get("expect") is None:
        return []
    rows = example["expect"] if isinstance(example["expect"], list) else [example["expect"]]
    ours = {column: value for column, (value, _) in example.get("instead", {}).items()}
    return [{**row, **ours} for row in rows]


def parked_by_reason(example: Facts) -> dict[str, int]:
    """Why how many records of an example wait."""
    parked = example.get("parked") or example.get("instead_parked", [None])[0]
    return {parked: 1} if isinstance(parked, str) else dict(parked or {})


def convert(desk: Desk, group: Facts) -> tuple[Facts, Facts]:
    """Loads one record for each value of a group; returns what became of each and what had to."""
    numbers = range(1, len(group["values"]) + 1)
    each = group.get("given_each")
    desk.give(_flat(deepcopy(group.get("given", []))))
    desk.give({"table": each["table"], each["column"]: str(n)} for n in numbers if each)
    records = [_record_of(group, n, fact[0]) for n, fact in zip(numbers, group["values"].values(), strict=True)]
    if "exploded" in group:
        word = group["exploded"]
        records = [{"id": 0, "scope": word["scope"], "data_": {word["list"]: records}}]
    desk.run(group["table"], [records])
    rows, parked = desk.written(ENTITIES[group["table"]]), desk.parked()
    key = str if "exploded" in group else key_of
    wanted = wanted_values(group)
    if "column" in group:
        wanted = {name: {group["column"]: want} for name, want in wanted.items()}
    found = {}
    for number, (name, want) in zip(numbers, wanted.items(), strict=True):
        legacy_key = key(number)
        waits = f"parked {parked.get(legacy_key)}"
        found[name] = shown(rows[legacy_key], want) if legacy_key in rows else dict.fromkeys(want, waits)
    return found, plain(wanted)


def _record_of(group: Facts, number: int, value: Any) -> Row:
    said = dict.fromkeys(group["attributes"], value) if "attributes" in group else value
    key = {} if "exploded" in group else {"__KEY": key_of(number)}
    return {**group.get("record", {}), **dict.fromkeys(group.get("numbered", ()), number), **said, **key}


def wanted_values(group: Facts) -> dict[str, Any]:
    """What must become of each value: ours where we deviate, else what was recorded."""
    return {name: fact[2] if len(fact) > 2 else fact[1] for name, fact in group["values"].items()}


def shown(row: Row, wanted: Row) -> Row:
    """The wanted columns of a row, in the form of `plain`; all of one that nobody wanted."""
    return {column: _shown(row.get(column), want) for column, want in (wanted or row).items()}


def _has(row: Row, values: Row) -> bool:
    return shown(row, values) == plain(values)


def _shown(value: Any, want: Any) -> Any:
    if isinstance(want, dict) and isinstance(value, dict):
        return shown(value, want)
    if isinstance(want, str) and want.startswith("~") and re.fullmatch(want[1:], str(value)):
        return want
    if want == "now" and isinstance(value, datetime) and abs(datetime.now(UTC) - value) < timedelta(hours=1):
        return want
    return plain(value)


def plain(value: Any) -> Any:
    """Values of the ERP and of the facts in one form; a day is its midnight UTC."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat()
    return value


def _flat(rows: Iterable[Any]) -> Iterator[Row]:
    for row in rows:
        yield from _flat(row) if isinstance(row, list) else [row]
