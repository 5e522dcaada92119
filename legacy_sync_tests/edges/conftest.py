"""What may every test at the edges use?"""

from collections.abc import Callable
from datetime import date

import pytest


@pytest.fixture
def day() -> Callable[[str], date]:
    """`day("2025-04-01")`, shorter to read than a constructor."""
    return date.fromisoformat
