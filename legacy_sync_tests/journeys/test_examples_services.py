"""Does every recorded supplier, receipt, rate and picture come out as recorded, or as docs/deviations.md says?"""

from typing import Any

import pytest
from examples_setup import named, read_facts
from services_setup import ServiceDesk, play

FACTS = read_facts("services")


@pytest.mark.parametrize("example", FACTS["examples"], ids=named)
def test_record_comes_out_as_recorded(services: ServiceDesk, example: dict[str, Any]):
    found, wanted = play(services, example)
    assert found == wanted
