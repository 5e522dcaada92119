"""The mappings we ship fit pyERP's real tables."""

import pytest

from legacy_sync.erp.catalog import find_table, list_tables
from legacy_sync.mapping.loader import load_project
from legacy_sync.mapping.preflight import check_mapping, find_warnings
from legacy_sync.settings import read_settings


@pytest.mark.parametrize("entity", ["products_parentproduct", "products_variantproduct"])
def test_shipped_mapping_fits_the_erp(erp, entity):
    mapping = load_project(read_settings({})).get(entity)
    assert check_mapping(mapping, None, lambda name: find_table(erp, name), lambda: list_tables(erp)) == []
    assert find_warnings(mapping, lambda name: find_table(erp, name)) == []
