"""What does Dagster load? The assets of all mappings; see `orchestration/`."""

import dagster as dg

from legacy_sync.orchestration.location import build_location
from legacy_sync.settings import read_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Built from `mappings/` when the code location is loaded; no database and no server is asked."""
    return build_location(read_settings())
