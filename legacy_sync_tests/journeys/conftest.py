"""What every journey may start from: an empty old database, or one with sample rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_setup import bare_cli, cli
from desk_setup import desk, examples_erp
from journey_setup import Journey, empty_store
from notify_setup import hook, post, watcher
from scenarios_setup import imported, whole_shop
from services_setup import services
from shop_setup import shop

from legacy_sync.demo.four_d_server import FourDServer

__all__ = [
    "bare_cli",
    "cli",
    "desk",
    "examples_erp",
    "hook",
    "imported",
    "journey",
    "post",
    "sample_journey",
    "services",
    "shop",
    "watcher",
    "whole_shop",
]


@pytest.fixture
def journey(erp_url: str, tmp_path: Path) -> Iterator[Journey]:
    """Both ends without rows; each table is one partition."""
    with FourDServer(empty_store()) as server:
        journey = Journey(server, erp_url, tmp_path)
        yield journey
        journey.close()


@pytest.fixture
def sample_journey(four_d: FourDServer, erp_url: str, tmp_path: Path) -> Iterator[Journey]:
    """The sample rows of the demo, as spoilt as in real life, and an empty ERP."""
    journey = Journey(four_d, erp_url, tmp_path)
    yield journey
    journey.close()
