"""The mappings we ship: they load in every environment and keep the promises made to ERP users."""

from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from legacy_sync.mapping.loader import load_project
from legacy_sync.mapping.model import BooleanCast, DateCast, JsonPickCast
from legacy_sync.settings import PROJECT_ROOT, read_settings

PRODUCTS = ("products_parentproduct", "products_variantproduct")


def load(environment="dev", **variables):
    return load_project(read_settings({"LEGACY_SYNC_ENV": environment, **variables}))


EXAMPLES = {"core_tag", "inventory_inventorymovement"}


@pytest.mark.parametrize(("environment", "without"), [("dev", set()), ("test", set()), ("production", EXAMPLES)])
def test_every_mapping_loads_in_every_environment_but_examples_not_in_production(environment, without):
    files = {file.name.removesuffix(".yaml") for file in (PROJECT_ROOT / "mappings").glob("*.yaml")}
    assert {m.entity for m in load(environment).ordered()} == files - without


def test_no_mapping_has_a_schedule_in_tests():
    assert [m.entity for m in load("test").ordered() if m.schedule] == []


def test_production_is_patient_and_takes_its_timeout_from_the_environment():
    assert load("production").sources["four_d"].options.retry.attempts == 6
    patient = load("production", LEGACY_API_TIMEOUT_SECONDS="90")
    assert patient.sources["four_d"].options.timeout_seconds == 90


def test_tests_have_small_pages_and_no_schedule():
    mapping = load("test").get("products_variantproduct")
    assert (mapping.source.page_size, mapping.schedule) == (100, None)


@pytest.mark.parametrize("entity", PRODUCTS)
def test_changes_are_found_by_month_and_day(entity):
    mapping = load().get(entity)
    assert (mapping.partitions.type, mapping.partitions.size) == ("window", "month")
    assert (mapping.partitions.start, mapping.partitions.timezone) == (date(2024, 1, 1), "Europe/Berlin")
    assert (mapping.source.cursor, mapping.strategy, mapping.lookback) == (
        "modified_date",
        "timestamp",
        timedelta(days=1),
    )
    assert (mapping.schedule.every, mapping.deletes.policy, mapping.group) == (
        timedelta(minutes=5),
        "report",
        "products",
    )


@pytest.mark.parametrize(
    ("entity", "owned"),
    [
        ("products_parentproduct", "keywords is_discontinued length_mm width_mm height_mm supplier_id category_id"),
        (
            "products_variantproduct",
            "is_featured is_bestseller width_mm auslaufdatum category_id keywords is_discontinued",
        ),
    ],
)
def test_columns_of_erp_users_are_never_mapped(entity, owned):
    mapping = load().get(entity)
    assert set(mapping.target.owned_by_erp) == set(owned.split())
    assert not set(owned.split()) & set(mapping.columns)


@pytest.mark.parametrize("entity", PRODUCTS)
def test_texts_become_empty_instead_of_null(entity):
    fields = load().get(entity).fields
    texts = ("name_en", "short_description", "short_description_en", "description", "description_en")
    assert {fields[name].default for name in texts} == {""}


@pytest.mark.parametrize("entity", PRODUCTS)
def test_active_flag_is_false_for_null_and_other_words(entity):
    mapping = load().get(entity)
    field = mapping.fields["is_active"]
    assert (field.from_, field.default, mapping.target.on_insert["is_active"]) == (("aktiv", "Aktiv"), False, True)
    assert field.cast == (BooleanCast(otherwise="false"),)


@pytest.mark.parametrize("entity", PRODUCTS)
def test_release_day_is_midnight_utc(entity):
    assert load().get(entity).fields["release_date"].cast == (DateCast(timezone="UTC"),)


@pytest.mark.parametrize("entity", PRODUCTS)
def test_sku_and_name_are_required_and_sku_is_the_natural_key(entity):
    mapping = load().get(entity)
    assert mapping.fields["sku"].required
    assert mapping.fields["name"].required
    assert mapping.target.natural_key == ("sku",)


def test_sku_rule_accepts_and_refuses_what_it_should():
    rule = load().get("products_parentproduct").rules[0]
    skus = pa.array(["915530", "0", "AB-1.2", "-1", ".5", "A B", "Ä1", ""])
    fits = pc.match_substring_regex(skus, f"^(?:{rule.matches})$").to_pylist()
    assert fits == [True, True, True, False, False, False, False, False]


def test_parent_is_found_by_key_then_by_base_number_and_waited_for():
    reference = load().get("products_variantproduct").fields["parent_id"].reference
    assert (reference.to, reference.if_missing) == ("products_parentproduct", "park")
    assert [(m.column, m.from_, m.from_column) for m in reference.match] == [
        ("legacy_id", ("Familie_",), None),
        ("legacy_base_sku", (), "legacy_base_sku"),
    ]


def test_prices_are_picked_from_the_list_and_kept_when_there_is_none():
    fields = load().get("products_variantproduct").fields
    for column, kind, value in (("retail_price", "Laden", "Preis"), ("wholesale_unit", "Handel", "VE")):
        field = fields[column]
        assert field.cast[0] == JsonPickCast(list="Coll", where={"Art": kind}, value=value)
        assert (field.if_null, field.if_invalid, field.conflict) == ("keep", "keep", "newest_wins")


@pytest.mark.parametrize(
    ("entity", "columns"),
    [("products_parentproduct", "legacy_id sku"), ("products_variantproduct", "legacy_id sku legacy_sku refOld")],
)
def test_keys_come_from_4d_alone_and_people_decide_the_rest(entity, columns):
    mapping = load().get(entity)
    assert {mapping.policy_of(column) for column in columns.split()} == {"legacy_wins"}
    assert mapping.policy_of("name") == "manual"


def test_base_number_is_written_into_the_parent():
    (backfill,) = load().get("products_variantproduct").backfill
    assert (backfill.column, backfill.through, backfill.into) == ("legacy_base_sku", "parent_id", "legacy_base_sku")
