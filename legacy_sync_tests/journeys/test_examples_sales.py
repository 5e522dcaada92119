"""Does every recorded sales document come out as recorded, with what follows from its positions?"""

from typing import Any

import pytest
from desk_setup import Desk
from examples_setup import convert, named, play, read_facts
from journey_setup import key_of

FACTS = read_facts("sales")
DOCUMENT = FACTS["records"]["document"]


@pytest.mark.parametrize("example", FACTS["examples"], ids=named)
def test_record_comes_out_as_recorded(desk: Desk, example: dict[str, Any]):
    found, wanted = play(desk, example)
    assert found == wanted


@pytest.mark.parametrize("group", FACTS["conversions"], ids=named)
def test_values_are_read_in_every_spelling(desk: Desk, group: dict[str, Any]):
    found, wanted = convert(desk, group)
    assert found == wanted


@pytest.mark.parametrize("name", FACTS["delivery"])
def test_delivery_status_follows_from_the_positions(desk: Desk, name: str):
    fact = FACTS["delivery"][name]
    desk.give([FACTS["rows"]["muster"]])
    saved = [
        {"__KEY": key_of(n), "AbsNr": 53621, "PosNr": n, "Menge": quantity, "Pick_Menge": picked, "Anmerkung": ""}
        for n, (quantity, picked, _) in enumerate(fact["positions"], start=1)
    ]
    edits = [
        "update sales_salesrecord set delivery_status = 'CANCELLED'",
        *(
            f"update sales_salesrecorditem set fulfillment_status = 'CANCELLED' where position = {n}"
            for n, (*_, state) in enumerate(fact["positions"], start=1)
            if state == "CANCELLED"
        ),
    ]
    runs = [saved, [{**row, "Anmerkung": "eilt"} for row in saved]] if saved else [[]]
    desk.run("Belege_Pos", runs, {"Belege": [DOCUMENT]}, between=edits)
    (document,) = desk.rows("sales_salesrecord")
    assert document["delivery_status"] == fact["state"]
    found = [row["fulfillment_status"] for row in desk.rows("sales_salesrecorditem")]
    assert found == [state for *_, state in fact["positions"]]
