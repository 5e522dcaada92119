"""Does every recorded product come out of the whole way as recorded, or as docs/deviations.md says?"""

from typing import Any

import pytest
from desk_setup import Desk
from examples_setup import convert, named, play, read_facts

FACTS = read_facts("products")


@pytest.mark.parametrize("example", FACTS["examples"], ids=named)
def test_record_comes_out_as_recorded(desk: Desk, example: dict[str, Any]):
    found, wanted = play(desk, example)
    assert found == wanted


@pytest.mark.parametrize("group", FACTS["conversions"], ids=named)
def test_values_are_read_in_every_spelling(desk: Desk, group: dict[str, Any]):
    found, wanted = convert(desk, group)
    assert found == wanted


def test_ignored_recorded_keys_are_no_columns(desk: Desk):
    found = {
        column
        for table in ("products_parentproduct", "products_variantproduct")
        for column in desk.table(table).columns
    }
    assert found.isdisjoint(FACTS["without_column"])
    assert all(FACTS["without_column"].values())
