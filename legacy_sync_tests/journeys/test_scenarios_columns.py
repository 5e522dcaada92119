"""Does every column of every mapping get its values, and only those that 4D says and users do not own?"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from scenarios_setup import Imported, WholeShop
from shop_setup import Shop, four_d_mappings

from legacy_sync.demo.four_d_server import AttributeDef
from legacy_sync.demo.sample_data import ALL_TABLES
from legacy_sync.mapping.model import FieldMapping, Mapping

ATTRIBUTES = {table.name: {a.name for a in table.attributes} for table in ALL_TABLES}
OPTIONAL = {
    "Stamm_Lager_Schuetten": {
        "Schuettencode": "X9",
        "Barcode": "4006381333931",
        "Bemerkung": "Deckel fehlt",
        "Schuettenzweck": "Picken",
    },
    "Stamm_Lagerorte": {"Bezeichnung": "Schaufenster"},
}
"""attributes that only some 4D have, with a value"""


def is_delivered(mapping: Mapping, field: FieldMapping) -> bool:
    """Whether the sample 4D has what the field reads; not every 4D has every attribute."""
    known = ATTRIBUTES[mapping.source.table] | {"__KEY", "__TIMESTAMP", "__STAMP"}
    return not field.attributes or bool(known & set(field.attributes)) or mapping.source.explode is not None


def says_something(field: FieldMapping, values: Iterable[Any]) -> bool:
    """Whether a value is neither nothing nor the default."""
    return bool({plainly(value) for value in values} - {"", plainly(field.default)})


def plainly(value: Any) -> str:
    """0, 0.00 and "0" are the same, so are False and "false"."""
    text = "" if value is None else str(value).lower()
    return format(float(text), "g") if text.replace(".", "", 1).isdigit() else text


def test_every_mapped_column_carries_values_of_4d(whole_shop: WholeShop):
    silent = []
    for mapping in whole_shop.mappings:
        rows = whole_shop.rows_of(mapping.entity).values()
        fields = {name: field for name, field in mapping.fields.items() if is_delivered(mapping, field)}
        assert len(fields) >= len(mapping.fields) - 2
        for name, field in fields.items():
            if not says_something(field, {row[name] for row in rows}):
                silent.append((f"{mapping.entity}.{name}", Counter(str(row[name]) for row in rows).most_common(3)))
    assert silent == []


def test_attributes_that_only_some_4d_have_arrive_where_they_are(shop: Shop):
    for table, values in OPTIONAL.items():
        shop.store.alter_table(table, add=[AttributeDef(name) for name in values])
    shop.save("Stamm_Lager_Schuetten", 1, ID=1, data_={}, **OPTIONAL["Stamm_Lager_Schuetten"])
    shop.save("Stamm_Lagerorte", 2, ID_Lagerort=2, **OPTIONAL["Stamm_Lagerorte"])
    shop.run("inventory_storagelocation")
    shop.run("inventory_box")
    (box,) = shop.query("select code, barcode, notes, purpose from inventory_box")
    assert list(box.values()) == ["X9", "4006381333931", "Deckel fehlt", "PICKING"]
    assert [r["name"] for r in shop.query("select name from inventory_storagelocation")] == ["Schaufenster"]


def test_production_orders_have_mold_quantity_and_priority(whole_shop: WholeShop):
    orders = whole_shop.rows_of("production_productionorder").values()
    for column, blank in {"form_number": "", "quantity": 0, "priority": 0}.items():
        filled = [order[column] for order in orders if order[column] != blank]
        assert len(filled) > len(orders) / 2, column
        assert len(set(filled)) > 1, column


def test_first_import_fills_an_empty_erp(imported: Imported):
    for entity, report in imported.reports.items():
        assert report.counts.inserted > 0, entity
        assert (report.counts.updated, report.counts.adopted, report.counts.conflicts) == (0, 0, 0), entity


def test_counts_are_what_the_database_did(imported: Imported, whole_shop: WholeShop):
    for entity, report in imported.reports.items():
        bound = len(whole_shop.rows_of(entity))
        assert report.counts.inserted == bound, entity
        is_list = whole_shop.said[entity]["source"].keys() & {"explode", "where"}
        if not is_list:  # there a record may be many rows, or none
            assert bound + report.counts.parked == report.counts.read, entity


# --- what belongs to the people in the ERP -------------------------------------------------------

DERIVED = {"sales_salesrecord.delivery_status", "inventory_boxslot.occupied"}
"""owned by the ERP, but it computes them itself"""
EDITED = {
    "Artikel_Familie": "Bezeichnung",
    "Artikel_Variante": "Bezeichnung",
    "Kunden": "USt_IdNr",
    "Adressen": "Ort",
    "Personal": "Ort",
    "Stamm_Lagerorte": "Ort_Gebaeude",
    "Stamm_Lager_Schuetten_Slots": "Auftrags_Nr",
    "Artikel_Lagerorte": "Auftrags_Nr",
    "Lager_Schuetten": "Chargen_Nr",
    "Formen": "Lagerort",
    "Werksauftraege": "linked_Form",
    "WerksauftrPos": "linked_Kostenstelle",
    "Belege": "Text",
    "Belege_Pos": "Anmerkung",
}
"""a text of every table"""


def edit_every_record(shop: WholeShop) -> None:
    """Somebody changes a text in every record."""
    for table, attribute in EDITED.items():
        for row in shop.store.rows(table):
            shop.store.update(table, str(row["__KEY"]), {attribute: f"neu {len(str(row[attribute]))}"})
    for row in shop.store.rows("Stamm_Lager_Schuetten"):
        shop.store.update("Stamm_Lager_Schuetten", str(row["__KEY"]), {"data_": {"Schuettenzweck": "Werkstatt"}})


PEOPLE = (
    "insert into auth_user (id, username) values (7, 'anna')",
    "insert into business_supplier (id, name, notes, created_at, updated_at)"
    " values ('00000000-0000-4000-8000-000000000007', 'Zinnhof', '', now(), now())",
    "insert into products_productcategory (id, code, name, description) values (7000, 'HAND', 'Von Hand', '')",
)
BY_HAND = {
    "bool": "not {column}",
    "timestamptz": "timestamptz '2001-02-03 04:05Z'",
    "numeric": "7.5",
    "int4": "7",
    "int8": "7000",
    "uuid": "uuid '00000000-0000-4000-8000-000000000007'",
    "text": "'von Hand'",
    "varchar": "'von Hand'",
}
"""by type a value that no import would write; of references one of the rows above"""


def set_by_hand(shop: WholeShop, table: str, column: str) -> None:
    """A person writes a value into every row, or into one of each customer where only one may have it."""
    (kind,) = shop.query(
        "select udt_name as type from information_schema.columns where table_name = %s and column_name = %s",
        table,
        column,
    )
    one_each = "where id in (select min(id) from sales_address group by customer_id)"
    value = BY_HAND[kind["type"]].format(column=column)
    shop.execute(f"update {table} set {column} = {value} {one_each if column == 'is_primary' else ''}")


def test_columns_of_erp_users_keep_their_values_whatever_4d_says(whole_shop: WholeShop):
    owned = {
        (m.entity, m.target.table, column)
        for m in whole_shop.mappings
        for column in m.target.owned_by_erp
        if f"{m.target.table}.{column}" not in DERIVED
    }
    for statement in PEOPLE:
        whole_shop.execute(statement)
    for _, table, column in owned:
        set_by_hand(whole_shop, table, column)
    before = {entity: whole_shop.rows_of(entity) for entity, _, _ in owned}
    edit_every_record(whole_shop)
    reports = whole_shop.import_all()
    lost = set()
    for entity, _, column in owned:
        rows = whole_shop.rows_of(entity)
        lost |= {(entity, column) for key, row in before[entity].items() if rows[key][column] != row[column]}
    assert lost == set()
    assert len(owned) > 30
    for mapping in whole_shop.mappings:  # nothing was kept only because nothing was written
        if mapping.source.table in EDITED and mapping.entity != "products_productcategory":
            written = reports[mapping.entity].counts.updated
            assert written > 0.9 * len(whole_shop.rows_of(mapping.entity)), mapping.entity


def test_no_mapping_writes_a_column_of_erp_users():
    for entity, words in four_d_mappings().items():
        assert not set(words["target"].get("owned_by_erp", ())) & set(words["fields"]), entity
