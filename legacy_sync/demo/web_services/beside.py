"""How do the other systems start beside 4D, with rows that fit its rows?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from legacy_sync.demo.four_d_server.store import Store
from legacy_sync.demo.sample_data import DOCUMENTS, VARIANTS
from legacy_sync.demo.web_services import bookkeeping, images
from legacy_sync.demo.web_services.bookkeeping import Bookkeeping
from legacy_sync.demo.web_services.drop_folder import write_tags
from legacy_sync.demo.web_services.images import ImageCms
from legacy_sync.demo.web_services.rates import Rates
from legacy_sync.demo.web_services.server import WebServices
from legacy_sync.demo.web_services.warehouse import write_warehouse

VARIABLES = (
    "FRANKFURTER_URL",
    "BOOKKEEPING_URL",
    "BOOKKEEPING_USER",
    "BOOKKEEPING_PASSWORD",
    "BOOKKEEPING_API_KEY",
    "BOOKKEEPING_PAUSE_SECONDS",
    "IMAGE_CMS_URL",
    "IMAGE_CMS_USER",
    "IMAGE_CMS_PASSWORD",
    "WAREHOUSE_DATABASE_URL",
    "DROP_FOLDER",
)
"""What the sources of the project are pointed by; a variable that is set wins over the demo."""


@dataclass(frozen=True)
class OtherSystems:
    """The running stand-ins."""

    rates: Rates
    bookkeeping: Bookkeeping
    images: ImageCms
    warehouse: Path
    drop_folder: Path
    server: WebServices

    @property
    def variables(self) -> dict[str, str]:
        """Where they are and how to log in, for the program."""
        values = (
            f"{self.server.url('frankfurter')}/v1",
            f"{self.server.url('bookkeeping')}/api/v1",
            bookkeeping.USER,
            bookkeeping.PASSWORD,
            bookkeeping.API_KEY,
            "0",
            f"{self.server.url('images')}/api",
            images.USER,
            images.PASSWORD,
            f"sqlite:///{self.warehouse}",
            str(self.drop_folder),
        )
        return dict(zip(VARIABLES, values, strict=True))


class Beside:
    """The other systems as they are made from 4D's rows of this moment; the same rows give the same systems."""

    def __init__(self, store: Store, folder: Path, seed: int, today: date) -> None:
        """`folder` is for their files."""
        self.folder, self.seed, self.today = folder, seed, today
        self.numbers = _numbers(store)
        self.books = Bookkeeping.beside(seed, store.rows(DOCUMENTS), today)
        self.cms = ImageCms.beside(seed, self.numbers)

    @contextmanager
    def started(self, port: int = 0, *, fresh: bool = True) -> Iterator[OtherSystems]:
        """All of them, until the block ends; files that are there stay as people left them, unless `fresh`."""
        warehouse, drop_folder = self.folder / "warehouse.db", self.folder / "drop"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if fresh or not warehouse.exists():
            write_warehouse(warehouse, self.seed, self.numbers, self.today)
        if fresh or not drop_folder.exists():
            write_tags(drop_folder)
        rates = Rates(self.seed)
        server = WebServices({"frankfurter": rates, "bookkeeping": self.books, "images": self.cms}, port)
        with ExitStack() as stack:
            try:
                stack.enter_context(server)
            except OSError:  # somebody else listens there now
                server.port = 0
                stack.enter_context(server)
            yield OtherSystems(rates, self.books, self.cms, warehouse, drop_folder, server)


def _numbers(store: Store) -> list[str]:
    """The article numbers that look like one, each once."""
    found = (str(row.get("Nummer") or "").strip() for row in store.rows(VARIANTS))
    return list(dict.fromkeys(number for number in found if re.fullmatch(r"\d{6}", number)))
