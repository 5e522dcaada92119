"""What would a real old database hold, surprises included? Seeded, so that every run sees the same rows.

`build_store` gives the tables of a figure maker's 4D as they are after thirty years: duplicates, orphans, blank
names, impossible dates, prices as text. `change_some` is a day's work on them. `wide_table` is a large plain
table for measuring. Each module has the tables of one department: what they look like, clean rows, what spoils
them, and what a day changes.
"""

from __future__ import annotations

from datetime import date

from legacy_sync.demo.four_d_server.store import Store, TableDef
from legacy_sync.demo.sample_data.bench import change_bench, wide_table
from legacy_sync.demo.sample_data.days_work import change_some
from legacy_sync.demo.sample_data.desk import Summary
from legacy_sync.demo.sample_data.every_row import TODAY, Wanted
from legacy_sync.demo.sample_data.partners import ADDRESS_TABLE, CUSTOMER_TABLE, EMPLOYEE_TABLE, add_partners
from legacy_sync.demo.sample_data.production import (
    MOLD_ARTICLE_TABLE,
    MOLD_TABLE,
    ORDER_ITEM_TABLE,
    ORDER_TABLE,
    add_production,
)
from legacy_sync.demo.sample_data.products import FAMILY_TABLE, VARIANT_TABLE, add_products
from legacy_sync.demo.sample_data.sales import DOCUMENT_TABLE, POSITION_TABLE, add_sales
from legacy_sync.demo.sample_data.stock import (
    BOX_STOCK_TABLE,
    BOX_TABLE,
    PARAMETER_TABLE,
    PLACE_TABLE,
    SLOT_TABLE,
    STOCK_TABLE,
    add_stock,
)
from legacy_sync.demo.sample_data.table_names import (
    ADDRESSES,
    BENCH,
    BOX_STOCK,
    BOXES,
    CUSTOMERS,
    DOCUMENTS,
    EMPLOYEES,
    FAMILIES,
    MOLD_ARTICLES,
    MOLDS,
    ORDER_ITEMS,
    ORDERS,
    PARAMETERS,
    PLACES,
    POSITIONS,
    SLOTS,
    STOCK,
    VARIANTS,
)

ALL_TABLES: tuple[TableDef, ...] = (
    FAMILY_TABLE,
    VARIANT_TABLE,
    CUSTOMER_TABLE,
    ADDRESS_TABLE,
    EMPLOYEE_TABLE,
    PLACE_TABLE,
    PARAMETER_TABLE,
    BOX_TABLE,
    SLOT_TABLE,
    STOCK_TABLE,
    BOX_STOCK_TABLE,
    MOLD_TABLE,
    MOLD_ARTICLE_TABLE,
    ORDER_TABLE,
    ORDER_ITEM_TABLE,
    DOCUMENT_TABLE,
    POSITION_TABLE,
)

__all__ = [
    "ADDRESSES",
    "ADDRESS_TABLE",
    "ALL_TABLES",
    "BENCH",
    "BOXES",
    "BOX_STOCK",
    "BOX_STOCK_TABLE",
    "BOX_TABLE",
    "CUSTOMERS",
    "CUSTOMER_TABLE",
    "DOCUMENTS",
    "DOCUMENT_TABLE",
    "EMPLOYEES",
    "EMPLOYEE_TABLE",
    "FAMILIES",
    "FAMILY_TABLE",
    "MOLDS",
    "MOLD_ARTICLES",
    "MOLD_ARTICLE_TABLE",
    "MOLD_TABLE",
    "ORDERS",
    "ORDER_ITEMS",
    "ORDER_ITEM_TABLE",
    "ORDER_TABLE",
    "PARAMETERS",
    "PARAMETER_TABLE",
    "PLACES",
    "PLACE_TABLE",
    "POSITIONS",
    "POSITION_TABLE",
    "SLOTS",
    "SLOT_TABLE",
    "STOCK",
    "STOCK_TABLE",
    "TODAY",
    "VARIANTS",
    "VARIANT_TABLE",
    "Summary",
    "build_store",
    "change_bench",
    "change_some",
    "wide_table",
]


def build_store(seed: int = 1, families: int = 1600, variants: int = 4300, today: date = TODAY) -> Store:
    """A database whose other tables fit in size to the families; some of these are only in `store.arriving` yet."""
    store = Store()
    wanted = Wanted(seed, families, variants, today)
    articles = add_products(store, wanted)
    customers = add_partners(store, wanted)
    add_stock(store, wanted, articles)
    add_production(store, wanted, articles)
    add_sales(store, wanted, articles, customers)
    return store
