"""Words that contradict each other within one mapping."""

import pytest

START = "source: {table: T, cursor: modified_date}\ntarget: {table: A}\nfields:\n  sku: {from: Nummer}\n"
NO_CURSOR = START.replace(", cursor: modified_date", "")
EXISTING = START.replace("{table: A}", "{table: A, natural_key: sku, rows: existing}")
REFERENCE = "  p_id: {reference: {to: P, match: [{column: k, from: K}]}}\n"

COUNTED = START + "change_detection: {strategy: global_stamp}\n"

CASES = {
    "cursor that 4D cannot select by": (
        START.replace("modified_date", "__TIMESTAMP"),
        '4D cannot select by "__TIMESTAMP", which is no attribute of the table',
        "1, source.cursor",
        'write "cursor: modified_date", or "strategy: global_stamp" without it',
    ),
    "deletes that 4D cannot tell by the key": (
        COUNTED.replace("table: T,", "table: T, key: Nummer,") + "deletes: {policy: report}\n",
        "4D tells deleted records by __KEY, and the key of this mapping is another: deletes go unnoticed",
        "6, deletes.policy",
        'add "full_every: 1d" to "change_detection", or write "policy: ignore" in "deletes"',
    ),
    "sweep for nothing": (
        START + "deletes: {sweep: 1d}\n",
        'a sweep has no effect while the policy is "ignore"',
        "5, deletes.sweep",
        'write what to do with missing rows, such as "policy: report", or remove "sweep"',
    ),
    "sweep of another key": (
        START.replace("table: T,", "table: T, key: Nummer,") + "deletes: {policy: report, sweep: 1d}\n",
        "a sweep compares __KEY, and the key of this mapping is another",
        "5, deletes.sweep",
        'remove "sweep" and add "full_every: 1d" to "change_detection"',
    ),
    "sweep although all rows are read": (
        NO_CURSOR + "deletes: {policy: report, sweep: 1d}\n",
        'a sweep has no effect with the strategy "fingerprint", which reads all rows every time',
        "5, deletes.sweep",
        'remove "sweep"',
    ),
    "soft delete that changes the natural key": (
        START.replace("{table: A}", "{table: A, natural_key: sku}") + "deletes: {policy: set, set: {sku: x}}\n",
        '"sku" is part of the natural key, by which the row would not be found again',
        "5, deletes.set.sku",
        "choose another column of the soft delete",
    ),
    "mapped and owned by the ERP": (
        "source: {table: T}\ntarget:\n  table: A\n  owned_by_erp: [x, sku]\nfields:\n  sku: {from: Nummer}\n",
        'column "sku" is mapped, but also belongs to the ERP',
        "4, target.owned_by_erp[1]",
        'remove it from "fields" or from "owned_by_erp"',
    ),
    "mapped and time of the write": (
        "source: {table: T}\ntarget: {table: A, updated_at: sku}\nfields:\n  sku: {from: Nummer}\n",
        'column "sku" is mapped, but also gets the time of the write',
        "2, target.updated_at",
        'remove it from "fields", or remove "updated_at"',
    ),
    "natural key not mapped": (
        "source: {table: T}\ntarget: {table: A, natural_key: [skuu]}\nfields:\n  sku: {from: Nummer}\n",
        'column "skuu" is not mapped',
        "2, target.natural_key[0]",
        'did you mean "sku"? Otherwise map it in "fields", or choose one of sku',
    ),
    "rule on a column that is not mapped": (
        START + "rules:\n  - {name: r, column: SKU, min: 1}\n",
        'column "SKU" is not mapped',
        "6, rules[0].column",
        'did you mean "sku"? Otherwise map it in "fields", or choose one of sku',
    ),
    "backfill of a column that is not mapped": (
        START + REFERENCE + "backfill: [{column: base, through: p_id, into: base}]\n",
        'column "base" is not mapped',
        "6, backfill[0].column",
        'map it in "fields", or choose one of sku, p_id',
    ),
    "backfill through a plain column": (
        START + REFERENCE + "backfill: [{column: sku, through: pid, into: base}]\n",
        'column "pid" is no reference',
        "6, backfill[0].through",
        'did you mean "p_id"? Otherwise choose one of p_id',
    ),
    "match on a column that is not mapped": (
        START + "  p_id: {reference: {to: P, match: [{column: k, from_column: p_id}]}}\n",
        'column "p_id" is not mapped to a value of its own',
        "5, fields.p_id.reference.match[0].from_column",
        "choose one of sku",
    ),
    "rule of pyERP that does not exist": (
        START + "  name: {compute: {rule: adress_name, inputs: {text: {from: X}}}}\n",
        'pyERP has no rule "adress_name" of this kind',
        "5, fields.name.compute.rule",
        'did you mean "address_name"?',
    ),
    "input that a rule does not have": (
        START + "  name: {compute: {rule: address_name, inputs: {texd: {from: X}}}}\n",
        'the rule "address_name" has no input "texd"',
        "5, fields.name.compute.inputs.texd",
        'did you mean "text"?',
    ),
    "option that a rule does not have": (
        START + "  t: {compute: {rule: line_tax, inputs: {price: {from: X}}, options: {tax_procent: 7}}}\n",
        'the rule "line_tax" has no option "tax_procent"',
        "5, fields.t.compute.options.tax_procent",
        'did you mean "tax_percent"?',
    ),
    "option of a rule that has none": (
        START + "  t: {compute: {rule: address_name, options: {x: 7}}}\n",
        'the rule "address_name" has no option "x"',
        "5, fields.t.compute.options.x",
        'remove "options"',
    ),
    "rule deep inside alternatives": (
        START + "  t: {first_of: [{join: [{compute: {rule: adress_city}}]}]}\n",
        'pyERP has no rule "adress_city" of this kind',
        "5, fields.t.first_of[0].join[0].compute.rule",
        'did you mean "address_city"?',
    ),
    "rule of what is looked for": (
        START + "  p_id: {reference: {to: P, match: [{columns: {k: {compute: {rule: slug}}}}]}}\n",
        'pyERP has no rule "slug" of this kind',
        "5, fields.p_id.reference.match[0].columns.k.compute.rule",
        "choose one of ",
    ),
    "rule on the ERP row that does not exist": (
        EXISTING + "  s: {erp_rule: receipt_payment}\n",
        'pyERP has no rule "receipt_payment" of this kind',
        "5, fields.s.erp_rule",
        'did you mean "receipt_payment_',
    ),
    "rule for parents that does not exist": (
        START + REFERENCE + "derive: [{rule: delivery, through: p_id, into: x}]\n",
        'pyERP has no rule "delivery" of this kind',
        "6, derive[0].rule",
        'did you mean "delivery_status"?',
    ),
    "rows that exist without a natural key": (
        START.replace("{table: A}", "{table: A, rows: existing}"),
        "rows that are never inserted must be found, and there is no natural key",
        "2, target.rows",
        'add "natural_key" to "target"',
    ),
    "rule on the ERP row of rows that are inserted": (
        START + "  name: {from: X, erp_rule: receipt_payment_status}\n",
        "a rule on the ERP row works only for rows that exist",
        "5, fields.name.erp_rule",
        'write "rows: existing" in "target"',
    ),
    "created rows told apart by what they do not have": (
        START + "  p_id: {reference: {to: P, match: [{column: k, from: X}], if_missing: create,"
        " create: {by: [code], values: {name: {from: X}}}}}\n",
        '"code" tells created rows apart, but has no value',
        "5, fields.p_id.reference.create.by[0]",
        'add it to "values"',
    ),
    "suffix on a column that is not mapped": (
        START + "suffixes: [{within: [sku], on: [code], order: sku}]\n",
        'column "code" is not mapped',
        "5, suffixes[0].on[0]",
        'map it in "fields"',
    ),
    "suffix within a column that is not mapped": (
        START + "suffixes: [{within: [place], on: [sku], order: sku}]\n",
        'column "place" is not mapped',
        "5, suffixes[0].within[0]",
        'map it in "fields"',
    ),
    "suffix in the order of a column that is not mapped": (
        START + "suffixes: [{within: [sku], on: [sku], order: skuu}]\n",
        'column "skuu" is not mapped',
        "5, suffixes[0].order",
        'did you mean "sku"?',
    ),
    "suffix on a composed column": (
        START + "  name: {compose: [{parts: [{column: sku}]}]}\nsuffixes: [{within: [sku], on: [name], order: sku}]\n",
        'the value of "name" is not known yet in this place',
        "6, suffixes[0].on[0]",
        "choose a column with a value from the record",
    ),
    "rule on a reference": (
        START + REFERENCE + "rules: [{name: r, column: p_id, min: 1}]\n",
        'the value of "p_id" is not known yet in this place',
        "6, rules[0].column",
        "choose a column with a value from the record",
    ),
    "match on a composed column": (
        START + "  name: {compose: [{parts: [{column: sku}]}]}\n"
        "  p_id: {reference: {to: P, match: [{column: k, from_column: name}]}}\n",
        'the value of "name" is not known yet in this place',
        "6, fields.p_id.reference.match[0].from_column",
        "choose a column with a value from the record",
    ),
    "references in a circle": (
        START + "  p_id: {reference: {to: P, match: [{columns: {k: {from: K}, q: {from_column: q_id}}}]}}\n"
        "  q_id: {reference: {to: Q, match: [{column: k, from_column: p_id}]}}\n",
        "these references look for each other: p_id → q_id → p_id",
        "5, fields.p_id.reference.match[0].columns.q.from_column",
        "let one of them look for values of the record alone",
    ),
    "cast beside a reference": (
        START + "  p_id: {cast: text, reference: {to: P, match: [{column: k, from: K}]}}\n",
        '"cast" has no effect beside "reference"',
        "5, fields.p_id.cast",
        "remove it; a value that is looked for has words of its own",
    ),
    "required reference": (
        START + "  p_id: {required: true, reference: {to: P, match: [{column: k, from: K}]}}\n",
        '"required" has no effect beside "reference"',
        "5, fields.p_id.required",
        'remove it; write "if_missing: park" there',
    ),
    "cast of another column's value": (
        START + "  p_id: {reference: {to: P, match: [{column: k, from_column: sku, cast: text}]}}\n",
        '"cast" has no effect beside "from_column"',
        "5, fields.p_id.reference.match[0].cast",
        "remove it: the value is that of the column",
    ),
    "prefixes of several columns": (
        START + "  p_id: {reference: {to: P, match: [{columns: {a: {from: A}, b: {from: B}}, compare: prefix}]}}\n",
        '"compare: prefix" compares one column, and there are 2',
        "5, fields.p_id.reference.match[0].compare",
        'remove it, or write a single "column"',
    ),
    "text composed of one that is composed later": (
        START + "  one: {compose: [{parts: [{column: two}]}]}\n  two: {compose: [{parts: [{column: sku}]}]}\n",
        'the text of "two" is made after that of "one"',
        "5, fields.one.compose[0].parts[0].column",
        'write "two" above "one"',
    ),
    "composed through a column that is no reference": (
        START + "  name: {compose: [{parts: [{column: k, through: sku}]}]}\n",
        'column "sku" is no reference',
        "5, fields.name.compose[0].parts[0].through",
        'map a column with "reference"',
    ),
    "composed of a row found by a column that is not mapped": (
        START + "  name: {compose: [{parts: [{to: P, where: {k: skuu}, column: name}]}]}\n",
        'column "skuu" is not mapped',
        "5, fields.name.compose[0].parts[0].where.k",
        'did you mean "sku"?',
    ),
    "created from a column that is not mapped": (
        START + "  p_id: {reference: {to: P, match: [{column: k, from: X}], if_missing: create,"
        " create: {by: [k], values: {k: {from_column: skuu}}}}}\n",
        'column "skuu" is not mapped to a value of its own',
        "5, fields.p_id.reference.create.values.k.from_column",
        'did you mean "sku"?',
    ),
    "derived through a column that is no reference": (
        START + "derive: [{rule: delivery_status, through: sku, into: x}]\n",
        'column "sku" is no reference',
        "5, derive[0].through",
        'map a column with "reference"',
    ),
    "composed of a column that is not mapped": (
        START + "  name: {compose: [{parts: [{column: unit}]}]}\n",
        'column "unit" is not mapped',
        "5, fields.name.compose[0].parts[0].column",
        'map it in "fields"',
    ),
    "replaced by a pattern that is none": (
        START + "  name: {from: X, cast: {type: replace, pattern: '('}}\n",
        '"(" is no regular expression: missing ): (',
        "5, fields.name.cast.pattern",
        "correct it",
    ),
    "newest wins without a time in the ERP": (
        START + "conflicts: {policy: newest_wins}\n",
        'the policy "newest_wins" needs the time of the last change in the ERP',
        "5, conflicts.policy",
        "name the column in target.updated_at, or choose another policy",
    ),
    "newest wins of one field": (
        START + "  name: {from: X, conflict: newest_wins}\n",
        'the policy "newest_wins" needs the time of the last change in the ERP',
        "5, fields.name.conflict",
        "name the column in target.updated_at, or choose another policy",
    ),
    "windows without a cursor": (
        NO_CURSOR + "partitions: {type: window, start: 2024-01-01}\n",
        "windows need a cursor, and the source has none",
        "5, partitions",
        'add "cursor: modified_date" to "source", or use "type: none"',
    ),
    "key ranges of a key of two parts": (
        NO_CURSOR.replace("T}", "T, key: [a, b]}") + "partitions: {type: key_range}\n",
        "key ranges need a key of one attribute; this one has 2",
        "5, partitions",
        'use "type: window" or "type: none", or a single key',
    ),
    "timestamps without a cursor": (
        NO_CURSOR + "change_detection: {strategy: timestamp}\n",
        'the strategy "timestamp" needs a cursor, and the source has none',
        "5, change_detection.strategy",
        'add "cursor: modified_date" to "source", or use "strategy: fingerprint"',
    ),
    "lookback shorter than the cursor's day": (
        START + "change_detection: {strategy: timestamp, lookback: 23h}\n",
        '"modified_date" has no time of day, so a lookback below 1d would miss changes',
        "5, change_detection.lookback",
        "write lookback: 1d or more",
    ),
    "soft delete that sets nothing": (
        START + "deletes: {policy: set}\n",
        'the policy "set" does not say what to set',
        "5, deletes.policy",
        'add the columns of the soft delete, such as "set: {is_active: false}"',
    ),
    "columns of a soft delete without the policy": (
        START + "deletes: {policy: report, set: {is_active: false}}\n",
        '"set" has no effect while the policy is "report"',
        "5, deletes.set",
        'write "policy: set", or remove "set"',
    ),
    "policy for edited rows without deletes": (
        START + "deletes: {policy: report, edited: manual}\n",
        '"edited" has no effect while the policy is "report", which changes no row',
        "5, deletes.edited",
        'write "policy: set" or "policy: delete", or remove "edited"',
    ),
    "rows of a document that come back alone": (
        START + "deletes: {in_erp: legacy_wins}\nunit: {name: papers, key: AbsNr}\n",
        'rows of "papers" belong together, and one of them cannot come back alone',
        "5, deletes.in_erp",
        'write "manual" or "erp_wins"',
    ),
    "regular expression that RE2 does not know": (
        START + 'rules:\n  - {name: r, column: sku, matches: "(?=a)"}\n',
        '"(?=a)" is no regular expression: ',
        "6, rules[0].matches",
        "correct it; RE2 knows no look-ahead and no back references",
    ),
    "bounds the wrong way round": (
        START + "rules:\n  - {name: r, column: sku, min: 5, max: 1}\n",
        "min 5 is above max 1, so every row would break the rule",
        "6, rules[0].min",
        "swap the two",
    ),
    "two rules of one name": (
        START + "rules:\n  - {name: r, column: sku, min: 1}\n  - {name: r, column: sku, max: 5}\n",
        'a rule "r" exists already',
        "7, rules[1].name",
        "give each rule its own name",
    ),
    "cron line with an impossible hour": (
        START + 'schedule: {cron: "0 25 * * *"}\n',
        '"0 25 * * *" is no cron line: bad hour',
        "5, schedule.cron",
        'write minute, hour, day, month and weekday, such as "0 2 * * *" for 02:00 every day',
    ),
    "cron line that is too short": (
        START + "schedule: {cron: daily}\n",
        '"daily" is no cron line: it has 1 parts, not 5',
        "5, schedule.cron",
        'write minute, hour, day, month and weekday, such as "0 2 * * *" for 02:00 every day',
    ),
    "interval below a minute": (
        START + "schedule: {every: 10s}\n",
        "an interval below one minute is too short",
        "5, schedule.every",
        "write every: 1m or more",
    ),
    "time zone of the windows": (
        START + "partitions: {type: window, start: 2024-01-01, timezone: Europe/Berln}\n",
        '"Europe/Berln" is no time zone',
        "5, partitions.timezone",
        'did you mean "Europe/Berlin"? Otherwise write an IANA name such as "Europe/Berlin" or "UTC"',
    ),
    "time zone of a cast": (
        START + "  d:\n    from: X\n    cast: {type: date, timezone: Mars/Base}\n",
        '"Mars/Base" is no time zone',
        "7, fields.d.cast.timezone",
        'write an IANA name such as "Europe/Berlin" or "UTC"',
    ),
    "dependency that is no entity": (
        START + "depends_on: [sales]\n",
        '"sales" is no entity',
        "5, depends_on[0]",
        "choose one of ",
    ),
    "dependency on itself": (
        START + "depends_on: a\n",
        "a depends on itself",
        "5, depends_on",
        "remove the line",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_contradiction(problems_of, case):
    text, what, where, next_step = CASES[case]
    problems = problems_of({"a.yaml": text})
    assert [p.where for p in problems] == [f"mappings/a.yaml:{where}"]
    assert problems[0].what.startswith(what)
    assert problems[0].next_step.startswith(next_step)


def test_on_insert_of_a_mapped_column_is_allowed(problems_of):
    text = "source: {table: T}\ntarget: {table: A, on_insert: {sku: x}}\nfields:\n  sku: {from: Nummer}\n"
    assert problems_of({"a.yaml": text}) == []
