"""Are the demo's ERP tables those of pyERP?"""

from concurrent.futures import ThreadPoolExecutor

import psycopg

from legacy_sync.demo.erp_tables import create_erp_tables
from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.erp.catalog import ForeignKey, find_table, list_tables

COLUMN_COUNTS = {
    "audit_synclog": 12,
    "auth_user": 2,
    "business_employee": 26,
    "business_supplier": 19,
    "core_auditlog": 12,
    "core_tag": 6,
    "core_taggeditem": 5,
    "currency_calculatedexchangerate": 6,
    "currency_currency": 3,
    "currency_exchangerate": 5,
    "currency_historicalexchangerate": 5,
    "django_content_type": 3,
    "inventory_box": 13,
    "inventory_boxslot": 17,
    "inventory_boxstorage": 14,
    "inventory_boxtype": 14,
    "inventory_inventorymovement": 14,
    "inventory_productstorage": 11,
    "inventory_storagelocation": 20,
    "monitoring_healthcheckresult": 6,
    "production_mold": 10,
    "production_mold_alloys": 3,
    "production_moldproduct": 9,
    "production_productionorder": 14,
    "production_productionorderitem": 21,
    "products_fieldoverride": 5,
    "products_imagesynclog": 9,
    "products_m2moverride": 5,
    "products_parentproduct": 25,
    "products_product": 21,
    "products_productcategory": 5,
    "products_productimage": 12,
    "products_unifiedproduct": 12,
    "products_variantproduct": 32,
    "sales_address": 22,
    "sales_customer": 20,
    "sales_paymentmethod": 11,
    "sales_paymentterms": 11,
    "sales_salesrecord": 27,
    "sales_salesrecorditem": 22,
    "sales_salesrecordrelationship": 10,
    "sales_shippingmethod": 11,
    "sync_syncmapping": 6,
    "sync_syncsource": 5,
    "sync_syncstate": 6,
    "sync_synctarget": 5,
}
TYPE_COUNTS = {
    "bigint": 19,
    "bigint not null": 68,
    "boolean not null": 53,
    "character varying(10) not null": 4,
    "character varying(100)": 7,
    "character varying(100) not null": 35,
    "character varying(11)": 1,
    "character varying(150) not null": 2,
    "character varying(2) not null": 2,
    "character varying(20)": 4,
    "character varying(20) not null": 21,
    "character varying(200)": 1,
    "character varying(200) not null": 5,
    "character varying(25) not null": 1,
    "character varying(254)": 2,
    "character varying(254) not null": 1,
    "character varying(255)": 3,
    "character varying(255) not null": 18,
    "character varying(3) not null": 2,
    "character varying(34)": 1,
    "character varying(36) not null": 2,
    "character varying(50)": 30,
    "character varying(50) not null": 31,
    "character varying(500)": 1,
    "character varying(500) not null": 1,
    "date": 5,
    "date not null": 3,
    "double precision": 1,
    "double precision not null": 3,
    "inet": 1,
    "integer": 17,
    "integer not null": 35,
    "jsonb": 1,
    "jsonb not null": 5,
    "numeric(10,2)": 10,
    "numeric(10,2) not null": 7,
    "numeric(10,3)": 1,
    "numeric(12,2)": 1,
    "numeric(12,2) not null": 6,
    "numeric(20,4) not null": 2,
    "numeric(20,6) not null": 2,
    "numeric(5,2)": 3,
    "numeric(5,2) not null": 3,
    "numeric(6,2)": 3,
    "text": 7,
    "text not null": 29,
    "timestamp with time zone": 28,
    "timestamp with time zone not null": 61,
    "uuid": 1,
    "uuid not null": 2,
}
UNIQUES = {
    "auth_user": {"username"},
    "business_employee": {"employee_number"},
    "core_auditlog": {"uuid"},
    "core_tag": {"name", "slug"},
    "core_taggeditem": {"tag_id, content_type_id, object_id"},
    "currency_calculatedexchangerate": {"base_currency_id, target_currency_id"},
    "currency_currency": {"code"},
    "currency_exchangerate": {"base_currency_id, target_currency_id, date"},
    "currency_historicalexchangerate": {"base_currency_id, target_currency_id, date"},
    "django_content_type": {"app_label, model"},
    "inventory_boxslot": {"box_id, slot_code"},
    "inventory_boxstorage": {"box_slot_id, product_storage_id, batch_number, position_in_slot"},
    "inventory_boxtype": {"name, slot_count, height, length, width, color"},
    "inventory_productstorage": {"product_id, storage_location_id"},
    "inventory_storagelocation": {"country, city_building, unit, compartment, shelf"},
    "production_mold": {"legacy_uuid"},
    "production_mold_alloys": {"mold_id, parentproduct_id"},
    "production_moldproduct": {"legacy_uuid", "mold_id, parent_product_id"},
    "production_productionorder": {"order_number"},
    "production_productionorderitem": {"production_order_id, item_number"},
    "products_fieldoverride": {"content_type_id, object_id, field_name"},
    "products_m2moverride": {"content_type_id, object_id, relationship_name"},
    "products_parentproduct": {"legacy_id", "sku"},
    "products_product": {"legacy_id", "sku"},
    "products_productcategory": {"code"},
    "products_unifiedproduct": {"sku"},
    "products_variantproduct": {"legacy_id", "sku"},
    "sales_customer": {"customer_number"},
    "sales_paymentmethod": {"name, code"},
    "sales_paymentterms": {"days_due, discount_days, discount_percent"},
    "sales_salesrecord": {"record_number, record_type"},
    "sales_salesrecorditem": {"sales_record_id, position"},
    "sales_salesrecordrelationship": {"from_record_id, to_record_id, relationship_type"},
    "sales_shippingmethod": {"name, code"},
    "sync_syncmapping": {"source_id, target_id, entity_type"},
    "sync_syncsource": {"name"},
    "sync_synctarget": {"name"},
}


def test_every_table_has_the_columns_of_pyerp(erp: psycopg.Connection) -> None:
    rows = erp.execute(
        "select table_name, count(*) from information_schema.columns where table_schema = 'public' group by 1"
    )
    assert dict(rows.fetchall()) == COLUMN_COUNTS


def test_column_types_are_those_of_pyerp(erp: psycopg.Connection) -> None:
    rows = erp.execute(
        "select format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end, count(*)"
        " from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attnum > 0 group by 1"
    )
    assert dict(rows.fetchall()) == TYPE_COUNTS


def test_no_column_has_a_default_except_identity_ids(erp: psycopg.Connection) -> None:
    defaults = erp.execute("select count(*) from pg_attrdef").fetchone()
    not_identity = erp.execute(
        "select table_name from information_schema.columns"
        " where table_schema = 'public' and column_name = 'id' and identity_generation is distinct from 'BY DEFAULT'"
    ).fetchall()
    assert defaults == (0,)
    assert not_identity == [("business_supplier",)]


def test_variant_keeps_the_mixed_case_column_and_its_uniques(erp: psycopg.Connection) -> None:
    variant = find_table(erp, "products_variantproduct")
    assert variant is not None
    assert (variant.columns["refOld"].full_type, variant.columns["refOld"].nullable) == ("character varying(50)", True)
    assert {unique.columns for unique in variant.uniques} == {("sku",), ("legacy_id",)}
    assert ForeignKey("parent_id", "products_parentproduct", "id") in variant.foreign_keys


def test_unique_constraints_are_those_of_pyerp(erp: psycopg.Connection) -> None:
    tables = [find_table(erp, name) for name in list_tables(erp)]
    found = {table.name: {", ".join(u.columns) for u in table.uniques if not u.predicate} for table in tables if table}
    assert {name: uniques for name, uniques in found.items() if uniques} == UNIQUES


def test_partial_uniques_carry_their_condition(erp: psycopg.Connection) -> None:
    address, image = find_table(erp, "sales_address"), find_table(erp, "products_productimage")
    assert address is not None
    assert image is not None
    assert [(unique.columns, unique.predicate) for unique in address.uniques] == [(("customer_id",), "is_primary")]
    assert [(unique.columns, unique.predicate) for unique in image.uniques] == [
        (("product_id", "external_id"), "(product_id IS NOT NULL)")
    ]


def test_every_foreign_key_is_checked_at_commit_and_acts_on_nothing(erp: psycopg.Connection) -> None:
    rows = erp.execute(
        "select condeferrable, condeferred, confdeltype, confupdtype, count(*)"
        " from pg_constraint where contype = 'f' group by 1, 2, 3, 4"
    )
    assert rows.fetchall() == [(True, True, "a", "a", 53)]


def test_checks_refuse_negative_numbers(erp: psycopg.Connection) -> None:
    rows = erp.execute(
        "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
        " where contype = 'c' and connamespace = 'public'::regnamespace"
    )
    assert set(rows.fetchall()) == {
        ("business_employee", "CHECK ((annual_vacation_days >= 0))"),
        ("core_taggeditem", "CHECK ((object_id >= 0))"),
        ("products_fieldoverride", "CHECK ((object_id >= 0))"),
        ("products_m2moverride", "CHECK ((object_id >= 0))"),
    }


def test_two_starters_at_once_create_the_tables_once(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database("two_starters")

    def create(_: int) -> None:
        with psycopg.connect(postgres.url("two_starters")) as connection:
            create_erp_tables(connection)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(4)))
    with psycopg.connect(postgres.url("two_starters")) as connection:
        assert len(list_tables(connection)) == len(COLUMN_COUNTS)
