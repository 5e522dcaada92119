"""Values the language refuses: each message says what, file and line, the closest name, and the next step."""

import pytest

from legacy_sync.errors import Problem

GOOD = "source: {table: T}\ntarget: {table: A}\nfields:\n  sku: {from: Nummer}\n"
FIELD_WORDS = (
    "from, first_of, join, separator, compute, value, cast, prefix, suffix, default, optional, reference, compose,"
    " erp_rule, required, if_null, if_invalid, conflict"
)

CASES = {
    "unknown word at the top": (
        GOOD + "grup: x\n",
        'unknown word "grup"',
        "5, grup",
        'did you mean "group"? Otherwise remove it; known here: entity, description, enabled, group',
    ),
    "unknown word in a field": (
        GOOD + "  name: {from: X, requird: true}\n",
        'unknown word "requird" in "fields.name"',
        "5, fields.name.requird",
        f'did you mean "required"? Otherwise remove it; known here: {FIELD_WORDS}',
    ),
    "unknown word without a similar one": (
        GOOD + "  name: {from: X, zzz: true}\n",
        'unknown word "zzz" in "fields.name"',
        "5, fields.name.zzz",
        f"remove it; known here: {FIELD_WORDS}",
    ),
    "unknown word in a cast of a chain": (
        GOOD + "  w:\n    from: X\n    cast:\n      - text\n      - {type: integer, roundign: truncate}\n",
        'unknown word "roundign" in "fields.w.cast[1]"',
        "9, fields.w.cast[1].roundign",
        'did you mean "rounding"? Otherwise remove it; known here: decimal_comma, clean, zero_is_null, type, rounding',
    ),
    "unknown cast": (
        GOOD + "  d:\n    from: X\n    cast: datte\n",
        'unknown type "datte" of "cast"',
        "7, fields.d.cast",
        'did you mean "date"? Otherwise choose one of text, integer, decimal, boolean, date, timestamp',
    ),
    "unknown partition type": (
        GOOD + "partitions: {type: windwo}\n",
        'unknown type "windwo" of "partitions"',
        "5, partitions.type",
        'did you mean "window"? Otherwise choose one of none, window, key_range',
    ),
    "type missing": (
        GOOD + "partitions: {size: month}\n",
        '"type" is missing in "partitions"',
        "5, partitions",
        "choose one of none, window, key_range",
    ),
    "text instead of a typed word": (
        GOOD + "partitions: month\n",
        '"partitions" is the text "month", but a mapping with a type is wanted',
        "5, partitions",
        "choose one of none, window, key_range",
    ),
    "value of an enumeration": (
        GOOD + "conflicts:\n  policy: manuel\n",
        '"manuel" is no value of "policy"',
        "6, conflicts.policy",
        'did you mean "manual"? Otherwise choose one of legacy_wins, erp_wins, newest_wins, manual',
    ),
    "missing word": (
        "source: {table: T}\nfields:\n  sku: {from: Nummer}\n",
        '"target" is missing',
        "1",
        'add "target: …"',
    ),
    "missing word further in": (
        "source:\n  cursor: x\ntarget: {table: A}\nfields:\n  sku: {from: Nummer}\n",
        '"table" is missing in "source"',
        "1, source",
        'add "table: …" below "source"',
    ),
    "number instead of text": (
        GOOD + "group: 12\n",
        '"group" is the number 12, but a text is wanted',
        "5, group",
        'put it in quotes: "12"',
    ),
    "truth value instead of text": (
        GOOD + "group: true\n",
        '"group" is true, but a text is wanted',
        "5, group",
        'put it in quotes: "true"',
    ),
    "nothing instead of text": (
        GOOD + "group:\n",
        '"group" is empty, but a text is wanted',
        "5, group",
        "write a text",
    ),
    "text instead of number": (
        GOOD + "max_parked_share: half\n",
        '"max_parked_share" is the text "half", but a number is wanted',
        "5, max_parked_share",
        "write a number",
    ),
    "number out of bounds": (
        GOOD + "deletes: {max_share: 2}\n",
        '"max_share" is 2, but must be at most 1',
        "5, deletes.max_share",
        "write a number that is at most 1",
    ),
    "text instead of true or false": (
        GOOD + "  name: {from: X, required: maybe}\n",
        '"required" is the text "maybe", but true or false is wanted',
        "5, fields.name.required",
        "write true or false",
    ),
    "bad day": (
        GOOD + "partitions: {type: window, start: 2024-13-01}\n",
        '"start" is the text "2024-13-01", but a day such as 2024-01-31 is wanted',
        "5, partitions.start",
        "write a day such as 2024-01-31",
    ),
    "bad duration": (
        GOOD + "schedule: {every: 5 minutes}\n",
        '"5 minutes" is no duration',
        "5, schedule.every",
        "write a number and a unit s, m, h, d or w, such as 5m or 1d",
    ),
    "duration without unit": (
        GOOD + "schedule: {every: 5}\n",
        '"5" is no duration',
        "5, schedule.every",
        "write a number and a unit s, m, h, d or w, such as 5m or 1d",
    ),
    "list instead of a single value": (
        GOOD + "  name: {from: X, default: [a]}\n",
        "a list cannot stand here",
        "5, fields.name.default",
        "write a single value",
    ),
    "text instead of a field": (
        GOOD + "  name: Bezeichnung\n",
        '"name" is the text "Bezeichnung", but a mapping of words is wanted',
        "5, fields.name",
        'write "name: {from: Bezeichnung}"',
    ),
    "text instead of a mapping": (
        GOOD + "conflicts: manual\n",
        '"conflicts" is the text "manual", but a mapping of words is wanted',
        "5, conflicts",
        "write a mapping of policy, legacy_modified",
    ),
    "nothing instead of a mapping": (
        GOOD.replace("{table: A}", ""),
        '"target" is empty, but a mapping of words is wanted',
        "2, target",
        "write a mapping of table, natural_key, owned_by_erp",
    ),
    "cast without a value": (
        GOOD + "  name: {from: X, cast: }\n",
        '"cast" is empty, but a mapping with a type is wanted',
        "5, fields.name.cast",
        "choose one of text, integer, decimal",
    ),
    "mapping instead of a list": (
        GOOD + "rules: {name: x}\n",
        '"rules" is a mapping of words, but a list is wanted',
        "5, rules",
        "write a list",
    ),
    "field without origin": (
        GOOD + "  name: {required: true}\n",
        '"name" needs exactly one of `from`, `first_of`, `join`, `compute`, `value` and `reference`',
        "5, fields.name",
        "keep or add the one that is meant",
    ),
    "schedule of two kinds": (
        GOOD + 'schedule: {every: 5m, cron: "0 2 * * *"}\n',
        '"schedule" needs exactly one of `cron` and `every`',
        "5, schedule",
        "keep or add the one that is meant",
    ),
    "rule without condition": (
        GOOD + "rules:\n  - {name: r, column: sku}\n",
        '"rules[0]" needs a condition: `matches`, `one_of`, `min`, `max` or `equals`',
        "6, rules[0]",
        "keep or add the one that is meant",
    ),
    "match by a column and by columns": (
        GOOD + "  p_id: {reference: {to: P, match: [{column: k, columns: {l: {from: L}}}]}}\n",
        '"fields.p_id.reference.match[0]" needs exactly one of `column`, `key` and `columns`',
        "5, fields.p_id.reference.match[0]",
        "keep or add the one that is meant",
    ),
    "match of two origins": (
        GOOD + "  p_id: {reference: {to: P, match: [{column: k, from: K, join: [{from: L}]}]}}\n",
        '"fields.p_id.reference.match[0]" needs exactly one of `from`, `from_column`, `first_of`, `join`, `compute`'
        " and `value`",
        "5, fields.p_id.reference.match[0]",
        "keep or add the one that is meant",
    ),
    "value beside the columns of a match": (
        GOOD + "  p_id: {reference: {to: P, match: [{columns: {l: {from: L}}, from: K}]}}\n",
        "`columns` have their own values",
        "5, fields.p_id.reference.match[0]",
        "move this one below its column",
    ),
    "field of two origins": (
        GOOD + "  name: {from: X, join: [{from: Y}]}\n",
        '"name" needs exactly one of `from`, `first_of`, `join`, `compute`, `value` and `reference`',
        "5, fields.name",
        "keep or add the one that is meant",
    ),
    "created rows that nobody asked for": (
        GOOD + "  p_id: {reference: {to: P, match: [{column: k, from: K}],"
        " create: {by: [k], values: {k: {from: K}}}}}\n",
        "`create` and `if_missing: create` belong together",
        "5, fields.p_id.reference",
        "correct the value",
    ),
    "created rows without values": (
        GOOD + "  p_id: {reference: {to: P, match: [{column: k, from: K}], if_missing: create,"
        " create: {by: [k], values: {}}}}\n",
        '"values" is empty',
        "5, fields.p_id.reference.create.values",
        "write at least one entry",
    ),
    "piece of a text through and to": (
        GOOD + "  name: {compose: [{parts: [{column: a, through: b, to: c, where: {d: e}}]}]}\n",
        "`through` and `to` exclude each other",
        "5, fields.name.compose[0].parts[0]",
        "correct the value",
    ),
    "piece of a text of a table without a condition": (
        GOOD + "  name: {compose: [{parts: [{column: a, to: c}]}]}\n",
        "`to` and `where` belong together",
        "5, fields.name.compose[0].parts[0]",
        "correct the value",
    ),
    "map without codes": (
        GOOD + "  name: {from: X, cast: {type: map, values: {}}}\n",
        '"values" is empty',
        "5, fields.name.cast.values",
        "write at least one entry",
    ),
    "reference without match": (
        GOOD + "  p_id: {reference: {to: P, match: []}}\n",
        '"match" is empty',
        "5, fields.p_id.reference.match",
        "write at least one entry",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_value(problems_of, case):
    text, what, where, next_step = CASES[case]
    problems = problems_of({"a.yaml": text})
    assert [(p.what, p.where) for p in problems] == [(what, f"mappings/a.yaml:{where}")]
    assert problems[0].next_step.startswith(next_step)


def test_messages_speak_no_jargon(problems_of):
    for text, *_ in CASES.values():
        said = " ".join(str(problem) for problem in problems_of({"a.yaml": text})).lower()
        assert not [word for word in ("pydantic", "input should", "validation", "literal", "tuple") if word in said]


def test_misspelt_word_does_not_hide_the_next_problem(problems_of):
    text = GOOD + "grup: x\nrules:\n  - {name: r, column: skuu, min: 1}\n"
    assert [p.where for p in problems_of({"a.yaml": text})] == [
        "mappings/a.yaml:5, grup",
        "mappings/a.yaml:7, rules[0].column",
    ]


def test_problem_reads_as_fact_place_and_next_step(problems_of):
    problem = problems_of({"a.yaml": GOOD + "group: 12\n"})[0]
    assert isinstance(problem, Problem)
    assert str(problem) == (
        '"group" is the number 12, but a text is wanted\n'
        "  where: mappings/a.yaml:5, group\n"
        '  next:  put it in quotes: "12"'
    )
