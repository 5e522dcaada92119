"""Does a mapping fit both catalogs? Literal catalogs in, problems out."""

import pytest

from legacy_sync.erp.catalog import Column, ErpTable, ForeignKey, UniqueIndex
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.preflight import check_mapping, default_cast, find_hints, find_warnings
from legacy_sync.sources.base import Attribute, TableInfo


def column(name, type_="varchar", *, nullable=True, default=False, length=None, full=None):
    return Column(name, type_, full or type_, nullable, default, default, length, None, None)


def table(name, *columns, foreign_keys=(), uniques=()):
    key = column("id", "int8", nullable=False, default=True)
    return ErpTable("public", name, {c.name: c for c in (key, *columns)}, ("id",), tuple(uniques), tuple(foreign_keys))


KUNDEN = TableInfo(
    "Kunden",
    tuple(Attribute(n, "string") for n in ("Nummer", "Name", "Aktiv", "Umsatz", "Gruppe", "modified_date")),
    ("__KEY",),
)
GROUP = table("sales_group", column("legacy_id"))
CUSTOMER = table(
    "sales_customer",
    column("number", nullable=False, length=20),
    column("name", nullable=False),
    column("is_active", "bool", nullable=False),
    column("turnover", "numeric", full="numeric(10,2)"),
    column("rank", "int4", full="integer"),
    column("created_at", "timestamptz", nullable=False),
    column("group_id", "int8"),
    foreign_keys=[ForeignKey("group_id", "sales_group", "id")],
    uniques=[UniqueIndex("customer_number", ("number",), None)],
)
WORDS = {
    "entity": "sales_customer",
    "source": {"table": "Kunden", "cursor": "modified_date"},
    "target": {"table": "sales_customer", "created_at": "created_at", "natural_key": ["number"]},
    "fields": {
        "number": {"from": "Nummer", "required": True},
        "name": {"from": "Name", "default": ""},
        "is_active": {"from": ["aktiv", "Aktiv"], "default": False},
    },
}


def mapping(**words):
    return Mapping.model_validate({**WORDS, **words})


def with_field(name, **words):
    return mapping(fields={**WORDS["fields"], name: words})


def with_target(**words):
    return mapping(target={**WORDS["target"], **words})


def check(checked, *tables, legacy=(KUNDEN,)):
    erp = {t.name: t for t in (tables or (CUSTOMER, GROUP))}
    return check_mapping(checked, {t.name: t for t in legacy}, erp.get, lambda: list(erp))


def said(problems):
    assert len(problems) == 1, [str(p) for p in problems]
    return problems[0].what, problems[0].where, problems[0].next_step


def test_mapping_that_fits_has_no_problem():
    assert check(mapping()) == []


def test_missing_catalogs_are_not_checked():
    assert check_mapping(mapping(), None, None, list) == []


def test_missing_legacy_table_names_the_closest():
    what, where, next_step = said(check(mapping(source={"table": "Kunde"})))
    assert what == 'the legacy server has no table "Kunde"'
    assert where == "preflight, mapping sales_customer, source.table, legacy catalog"
    assert next_step == 'did you mean "Kunden"? Otherwise choose one of Kunden'


def test_missing_attribute_names_the_closest_and_the_command():
    what, where, next_step = said(check(with_field("turnover", **{"from": "umsatz"})))
    assert what == 'legacy table "Kunden" has no column "umsatz"'
    assert where == "preflight, mapping sales_customer, fields.turnover.from, legacy catalog"
    assert next_step == (
        'did you mean "Umsatz"? Otherwise remove the field or map its new name, '
        "then run `legacy-sync check sales_customer`"
    )


def test_of_several_spellings_one_must_exist():
    assert check(with_field("turnover", **{"from": ["umsatz", "Umsatz"]})) == []
    what, _, _ = said(check(with_field("turnover", **{"from": ["umsatz", "UMSATZ"]})))
    assert what == 'legacy table "Kunden" has no column "umsatz" or "UMSATZ"'


@pytest.mark.parametrize(
    ("source", "path"),
    [({"cursor": "changed"}, "source.cursor"), ({"key": ["ID"]}, "source.key")],
)
def test_key_and_cursor_must_exist(source, path):
    _, where, _ = said(check(mapping(source={"table": "Kunden", **source})))
    assert where == f"preflight, mapping sales_customer, {path}, legacy catalog"


def test_envelope_attributes_always_exist():
    words = {"table": "Kunden", "key": ["__KEY"], "cursor": "__TIMESTAMP"}
    assert check(mapping(source=words, conflicts={"policy": "newest_wins"})) == []


def test_time_compared_by_newest_wins_must_exist():
    _, where, _ = said(check(mapping(conflicts={"policy": "newest_wins", "legacy_modified": "geändert"})))
    assert where == "preflight, mapping sales_customer, conflicts.legacy_modified, legacy catalog"


def test_attributes_of_alternatives_and_references_must_exist():
    fields = {
        "rank": {"first_of": [{"from": "Rang"}, {"from": "Nummer"}]},
        "group_id": {"reference": {"to": "sales_group", "match": [{"column": "legacy_id", "from": "Grp_"}]}},
    }
    problems = check(mapping(fields={**WORDS["fields"], **fields}))
    assert [p.where.split(", ")[2] for p in problems] == [
        "fields.rank.first_of[0].from",
        "fields.group_id.reference.match[0].from",
    ]


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({"join": [{"from": "Name"}, {"from": "Nme"}]}, "join[1].from"),
        ({"first_of": [{"join": [{"from": "Nme"}]}]}, "first_of[0].join[0].from"),
        (
            {"compute": {"rule": "address_city", "inputs": {"text": {"first_of": [{"from": "Nme"}]}}}},
            "compute.inputs.text.first_of[0].from",
        ),
        (
            {"reference": {"to": "sales_group", "match": [{"columns": {"legacy_id": {"from": "Nme"}}}]}},
            "reference.match[0].columns.legacy_id.from",
        ),
    ],
)
def test_attributes_at_any_depth_must_exist(words, path):
    what, where, next_step = said(check(with_field("group_id", **words)))
    assert what == 'legacy table "Kunden" has no column "Nme"'
    assert where == f"preflight, mapping sales_customer, fields.group_id.{path}, legacy catalog"
    assert next_step.startswith('did you mean "Name"?')


def test_optional_attribute_need_not_exist():
    parts = [{"from": "Nme", "optional": True}, {"from": "Name"}]
    assert check(with_field("name", first_of=parts, default="")) == []
    match = [{"column": "legacy_id", "from": "Grp", "optional": True}]
    assert check(with_field("group_id", reference={"to": "sales_group", "match": match, "if_missing": "null"})) == []


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({"unit": {"name": "u", "key": "AbsNr"}}, "unit.key"),
        ({"partitions": {"type": "number_range", "attribute": "AbsNr"}}, "partitions.attribute"),
        ({"source": {"table": "Kunden", "other_keys": ["AbsNr"]}}, "source.other_keys[0]"),
        ({"source": {"table": "Kunden", "where": {"AbsNr": "*"}}}, "source.where.AbsNr"),
        ({"source": {"table": "Kunden", "explode": {"attribute": "AbsNr"}}}, "source.explode.attribute"),
        ({"rules": [{"name": "r", "column": "turnover", "equals": "AbsNr"}]}, "rules[0].equals"),
    ],
)
def test_attributes_named_anywhere_must_exist(words, path):
    what, where, _ = said(check(mapping(**words)))
    assert what == 'legacy table "Kunden" has no column "AbsNr"'
    assert where == f"preflight, mapping sales_customer, {path}, legacy catalog"


def test_attributes_of_items_of_a_list_are_not_in_the_catalog():
    source = {"table": "Kunden", "explode": {"attribute": "Gruppe"}, "key": "id"}
    assert check(mapping(source=source, fields={**WORDS["fields"], "rank": {"from": "Slots"}})) == []


def test_missing_erp_table_names_the_closest():
    what, where, next_step = said(check(with_target(table="sales_costumer")))
    assert what == 'the ERP has no table "sales_costumer"'
    assert where == "preflight, mapping sales_customer, target.table, ERP catalog"
    assert next_step.startswith('did you mean "sales_customer"? Otherwise check ERP_DATABASE_URL')


@pytest.mark.parametrize(
    ("checked", "path"),
    [
        (with_field("nme", **{"from": "Name"}), "fields.nme"),
        (with_target(owned_by_erp=["nme"]), "target.owned_by_erp[0]"),
        (with_target(on_insert={"nme": ""}), "target.on_insert.nme"),
        (with_target(updated_at="nme"), "target.updated_at"),
        (mapping(deletes={"policy": "set", "set": {"nme": ""}}), "deletes.set.nme"),
    ],
)
def test_missing_erp_column_names_the_closest(checked, path):
    what, where, next_step = said(check(checked))
    assert what == 'ERP table "sales_customer" has no column "nme"'
    assert where == f"preflight, mapping sales_customer, {path}, ERP catalog"
    assert next_step.startswith('did you mean "name"? Otherwise remove it or name its new column')


def test_column_that_must_not_be_null_needs_a_value_in_new_rows():
    fields = {"number": WORDS["fields"]["number"], "name": WORDS["fields"]["name"]}
    what, _, next_step = said(check(mapping(fields=fields)))
    assert what == 'ERP column "is_active" must not be null, but nothing fills it in a new row'
    assert next_step == 'map it in "fields", or add `is_active: false` to target.on_insert'


@pytest.mark.parametrize(("type_", "problems"), [("uuid", 0), ("int8", 1)])
def test_only_a_uuid_key_is_made_by_us(type_, problems):
    columns = {**CUSTOMER.columns, "id": column("id", type_, nullable=False)}
    without_identity = ErpTable("public", "sales_customer", columns, ("id",), (), ())
    found = check(mapping(), without_identity)
    assert [p.what for p in found] == ['ERP column "id" must not be null, but nothing fills it in a new row'] * problems


def test_null_into_a_column_that_must_not_be_null():
    what, where, next_step = said(check(with_field("name", **{"from": "Name"})))
    assert what == 'ERP column "name" must not be null, but the legacy value may be'
    assert where == "preflight, mapping sales_customer, fields.name, ERP catalog"
    assert next_step == 'add `default: ""` or `required: true`'


def test_invalid_value_without_default_into_a_column_that_must_not_be_null():
    checked = mapping(
        target={**WORDS["target"], "on_insert": {"name": ""}},
        fields={**WORDS["fields"], "name": {"from": "Name", "if_invalid": "default"}},
    )
    what, _, _ = said(check(checked))
    assert what == 'ERP column "name" must not be null, but an invalid value becomes the default, which is null'


@pytest.mark.parametrize(
    ("name", "cast", "next_step"),
    [
        ("is_active", "decimal", 'write "cast: boolean", or remove the cast'),
        ("rank", "decimal", "write cast: {type: integer, rounding: truncate} (or half_up)"),
        ("rank", {"type": "split_last", "part": "after"}, 'add a cast behind it: "- integer"'),
        ("turnover", "date", 'write "cast: decimal", or remove the cast'),
    ],
)
def test_cast_must_fit_the_column(name, cast, next_step):
    problem = said(
        check(with_field(name, **{"from": "Umsatz", "default": 0 if name != "is_active" else False}, cast=cast))
    )
    assert problem[0].startswith('cast "')
    assert "does not fit ERP column" in problem[0]
    assert problem[2] == next_step


def test_alternatives_are_converted_after_the_choice():
    parts = [{"from": "Nummer", "cast": {"type": "split_last", "part": "after"}}]
    assert check(with_field("rank", first_of=parts)) == []


def test_referenced_table_and_columns_must_exist():
    reference = {"to": "sales_grup", "match": [{"column": "legacy_id", "from": "Gruppe"}]}
    what, _, next_step = said(check(with_field("group_id", reference=reference)))
    assert what == 'the ERP has no table "sales_grup"'
    assert next_step.startswith('did you mean "sales_group"?')
    reference = {"to": "sales_group", "match": [{"column": "legacy", "from": "Gruppe"}]}
    what, where, _ = said(check(with_field("group_id", reference=reference)))
    assert what == 'ERP table "sales_group" has no column "legacy"'
    assert where.startswith("preflight, mapping sales_customer, fields.group_id.reference.match[0].column")


def test_reference_must_agree_with_the_foreign_key():
    reference = {"to": "sales_customer", "match": [{"column": "number", "from": "Gruppe"}]}
    what, _, next_step = said(check(with_field("group_id", reference=reference)))
    assert what == 'in the ERP "group_id" refers to table "sales_group", not to "sales_customer"'
    assert next_step == 'write "to: sales_group"'


GROUPS = table("sales_group", column("legacy_id"), column("area_id", "int8"), column("name", nullable=False, length=5))
GROUPS = ErpTable("public", "sales_group", GROUPS.columns, ("id",), (), (ForeignKey("area_id", "sales_area", "id"),))
AREA = table("sales_area", column("code"))


def with_reference(**words):
    match = {"match": [{"column": "legacy_id", "from": "Gruppe"}]}
    return with_field("group_id", reference={"to": "sales_group", **match, **words})


def check_groups(checked):
    return check(checked, CUSTOMER, GROUPS, AREA)


def test_column_behind_a_reference_of_the_referenced_table():
    assert check_groups(with_reference(match=[{"column": "area_id.code", "from": "Gruppe"}])) == []
    what, where, next_step = said(check_groups(with_reference(match=[{"column": "legacy_id.code", "from": "Gruppe"}])))
    assert what == 'ERP table "sales_group" has no reference "legacy_id"'
    assert where == "preflight, mapping sales_customer, fields.group_id.reference.match[0].column, ERP catalog"
    assert next_step == "choose one of area_id"
    what, _, next_step = said(check_groups(with_reference(match=[{"column": "area_id.cod", "from": "Gruppe"}])))
    assert what == 'ERP table "sales_area" has no column "cod"'
    assert next_step.startswith('did you mean "code"?')


def test_created_row_needs_what_must_not_be_null():
    create = {"by": ["legacy_id"], "values": {"legacy_id": {"from": "Gruppe"}}}
    what, where, next_step = said(check_groups(with_reference(if_missing="create", create=create)))
    assert what == '"sales_group.name" must not be null, but nothing fills it in a created row'
    assert where == "preflight, mapping sales_customer, fields.group_id.reference.create.values, ERP catalog"
    assert next_step == 'add `name: {value: ""}`'


def test_created_row_has_columns_of_its_table_and_values_that_fit():
    values = {"legacy_id": {"from": "Gruppe"}, "nam": {"value": "x"}, "name": {"value": "too long"}}
    found = check_groups(with_reference(if_missing="create", create={"by": ["legacy_id"], "values": values}))
    assert [p.what for p in found] == [
        'ERP table "sales_group" has no column "nam"',
        '"too long" does not fit "sales_group.name": it holds 5 characters',
    ]


def test_columns_of_composed_texts_must_exist():
    parts = [
        {"column": "nam", "through": "group_id"},
        {"to": "sales_area", "where": {"cod": "number"}, "column": "code"},
    ]
    fields = {**with_reference().model_dump(by_alias=True, exclude_unset=True)["fields"]}
    fields["name"] = {"compose": [{"parts": parts}]}
    found = check_groups(mapping(fields=fields))
    assert [(p.what, p.where.split(", ")[2]) for p in found] == [
        ('ERP table "sales_group" has no column "nam"', "fields.name.compose[0].parts[0].column"),
        ('ERP table "sales_area" has no column "cod"', "fields.name.compose[0].parts[1].where"),
    ]


def test_suffix_needs_a_text_column():
    checked = mapping(
        fields={**WORDS["fields"], "rank": {"from": "Umsatz"}},
        suffixes=[{"within": ["rank"], "on": ["rank"], "order": "number"}],
    )
    what, _, next_step = said(check(checked))
    assert (what, next_step) == ('a suffix cannot stand in "rank", which is integer', "choose a text column")


def test_derived_column_must_exist():
    checked = mapping(
        fields=with_reference().model_dump(by_alias=True, exclude_unset=True)["fields"],
        derive=[{"rule": "delivery_status", "through": "group_id", "into": "legacy"}],
    )
    what, where, _ = said(check_groups(checked))
    assert what == 'ERP table "sales_group" has no column "legacy"'
    assert where == "preflight, mapping sales_customer, derive[0].into, ERP catalog"


def test_rows_that_exist_need_nothing_in_new_rows():
    fields = {"number": WORDS["fields"]["number"]}
    assert check(mapping(fields=fields, target={**WORDS["target"], "rows": "existing"})) == []


def test_backfilled_column_must_exist():
    reference = {"to": "sales_group", "match": [{"column": "legacy_id", "from": "Gruppe"}]}
    checked = mapping(
        fields={**WORDS["fields"], "group_id": {"reference": reference}},
        backfill=[{"column": "name", "through": "group_id", "into": "nam"}],
    )
    what, where, _ = said(check(checked))
    assert what == 'ERP table "sales_group" has no column "nam"'
    assert where == "preflight, mapping sales_customer, backfill[0].into, ERP catalog"


@pytest.mark.parametrize(
    ("checked", "reason"),
    [
        (with_target(on_insert={"is_active": "nein"}), '"nein" does not fit ERP column "is_active": it is boolean'),
        (with_target(on_insert={"rank": 1.5}), '1.5 does not fit ERP column "rank": it is integer'),
        (with_target(on_insert={"turnover": "viel"}), '"viel" does not fit ERP column "turnover": it is numeric(10,2)'),
        (with_target(on_insert={"name": None}), 'null does not fit ERP column "name": the column must not be null'),
        (
            with_field("number", value="x" * 21),
            f'"{"x" * 21}" does not fit ERP column "number": it holds 20 characters',
        ),
    ],
)
def test_written_values_must_fit_the_column(checked, reason):
    assert said(check(checked))[0] == reason


def test_all_problems_are_listed():
    checked = mapping(
        source={"table": "Kunden", "cursor": "changed"},
        fields={**WORDS["fields"], "nme": {"from": "Nam"}, "rank": {"from": "Umsatz", "cast": "date"}},
    )
    assert len(check(checked)) == 4


def test_natural_key_that_the_erp_does_not_keep_unique_is_a_warning():
    assert find_warnings(mapping(), {"sales_customer": CUSTOMER}.get) == []
    what, where, _ = said(find_warnings(with_target(natural_key=["name"]), {"sales_customer": CUSTOMER}.get))
    assert what == "the ERP does not keep name unique"
    assert where == "preflight, mapping sales_customer, target.natural_key, ERP catalog"


def test_delivered_null_that_parks_rows_is_a_warning():
    fields = {**WORDS["fields"], "name": {"from": "Name"}}
    checked = mapping(fields=fields, target={**WORDS["target"], "on_insert": {"name": ""}})
    assert check(checked) == []
    what, _, _ = said(find_warnings(checked, {"sales_customer": CUSTOMER}.get))
    assert what == 'a legacy null parks the row: ERP column "name" must not be null'


@pytest.mark.parametrize(
    ("types", "cast"),
    [
        ("text varchar bpchar json jsonb uuid inet", "text"),
        ("int2 int4 int8", "integer"),
        ("numeric float4 float8", "decimal"),
        ("bool", "boolean"),
        ("date", "date"),
        ("timestamptz timestamp", "timestamp"),
    ],
)
def test_default_cast_follows_the_column(types, cast):
    assert {default_cast(column("x", type_)).type for type_ in types.split()} == {cast}


# --- hints ---------------------------------------------------------------------------------------


def hints(*attributes: str, **detection: object) -> list[str]:
    table = TableInfo("Kunden", tuple(Attribute(n, "string") for n in attributes))
    return [str(problem) for problem in find_hints(mapping(change_detection=detection), table)]


def test_counter_of_changes_is_offered_where_4d_has_one():
    (text,) = hints("Nummer", "__GlobalStamp", strategy="timestamp", full_every="7d")
    assert "4D counts the changes" in text
    assert "strategy: global_stamp" in text


def test_missing_counter_is_told():
    (text,) = hints("Nummer", strategy="global_stamp")
    assert "does not count" in text


def test_cursor_without_full_reads_is_told():
    (text,) = hints("Nummer", strategy="timestamp")
    assert "full_every" in text


def test_what_fits_the_catalog_has_no_hint():
    assert hints("Nummer", strategy="timestamp", full_every="7d") == []
    assert hints("Nummer", "__GlobalStamp", strategy="global_stamp") == []
    assert hints("Nummer", strategy="fingerprint") == []
