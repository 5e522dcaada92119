"""Do the stand-ins beside 4D have believable rows that fit those of 4D, and behave as the real services do?"""

import json
import sqlite3
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from legacy_sync.demo.four_d_server import Store
from legacy_sync.demo.sample_data import DOCUMENTS, VARIANTS, build_store
from legacy_sync.demo.web_services import Beside, OtherSystems, Rates
from legacy_sync.demo.web_services.server import Request

TODAY = date(2025, 11, 3)
LOGIN = {"Authorization": f"Basic {b64encode(b'demo:demo-password').decode()}"}


@pytest.fixture
def systems(store: Store, tmp_path: Path) -> Iterator[OtherSystems]:
    with Beside(store, tmp_path, 1, TODAY).started() as systems:
        yield systems


def ask(url: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def asked(path: str) -> Any:
    return Rates(1, TODAY).answer(Request("GET", path, {}, {}, None), "").body


def test_the_same_seed_gives_the_same_rows(store: Store, tmp_path: Path):
    with (
        Beside(store, tmp_path / "a", 1, TODAY).started() as one,
        Beside(store, tmp_path / "b", 1, TODAY).started() as two,
    ):
        assert one.bookkeeping.receipts == two.bookkeeping.receipts
        assert one.images.files == two.images.files
        assert one.rates.days == two.rates.days


def test_rates_exist_for_working_days_and_stay_near_the_real_ones():
    latest = asked("v1/latest")
    assert (latest["base"], latest["date"], len(latest["rates"])) == ("EUR", "2025-11-03", 29)
    assert 0.7 < latest["rates"]["USD"] / 1.08 < 1.4
    assert [day for day in Rates(1, TODAY).days if day.weekday() > 4] == []
    assert asked("v1/2025-05-01..2025-05-05")["rates"].keys() == {"2025-05-01", "2025-05-02", "2025-05-05"}


def test_more_than_ninety_days_at_once_give_one_day_in_a_week():
    assert len(asked("v1/2025-04-01..2025-06-29")["rates"]) == 64
    assert len(asked("v1/2025-04-01..2025-07-15")["rates"]) == 15


def test_receipts_pay_invoices_of_4d(store: Store, systems: OtherSystems):
    invoices = {str(row["PapierNr"]) for row in store.rows(DOCUMENTS) if row["Papierart"] == "R"}
    named = [row["filename"].removeprefix("R").removesuffix(".pdf") for row in systems.bookkeeping.receipts[:-1]]
    assert len(named) > 100
    assert set(named) <= invoices


def test_pictures_and_movements_belong_to_variants_of_4d(store: Store, systems: OtherSystems):
    numbers = {str(row["Nummer"]) for row in store.rows(VARIANTS)}
    shown = {a.get("number") or a.get("article_number") for f in systems.images.files for a in f["articles"]}
    assert shown - {None} <= numbers
    with closing(sqlite3.connect(systems.warehouse)) as connection:
        moved = {row[0] for row in connection.execute("select article_number from stock_movement")}
    assert moved - {"999999"} <= numbers


def test_a_whole_sample_has_about_as_many_pictures_as_the_real_service(tmp_path: Path):
    with Beside(build_store(1, 1600, 4300), tmp_path, 1, TODAY).started() as systems:
        assert 2400 < len(systems.images.files) <= 2489


def test_bookkeeping_wants_login_and_key_and_gives_pages(systems: OtherSystems):
    url = f"{systems.server.url('bookkeeping')}/api/v1/settings/get/creditors"
    assert ask(url, {})[0] == 401
    assert ask(url, {"api_key": "x"}, LOGIN) == {"success": False, "message": "api_key is invalid"}
    page = ask(url, {"api_key": "demo-api-key", "limit": 5, "offset": 210}, LOGIN)
    assert (page["success"], page["rows"], len(page["data"])) == (True, 2, 2)


def test_the_image_service_counts_and_refuses_pages_beyond_the_end(systems: OtherSystems):
    url = f"{systems.server.url('images')}/api/all-files-and-articles/"
    assert ask(url)[0] == 401
    page = ask(f"{url}?page=1&page_size=10", headers=LOGIN)
    assert (page["count"], len(page["results"])) == (len(systems.images.files), 10)
    assert ask(f"{url}?page=99&page_size=10", headers=LOGIN) == (404, {"detail": "Invalid page."})


def test_the_export_is_written_as_an_old_4d_does(systems: OtherSystems):
    content = (systems.drop_folder / "Schlagworte.txt").read_bytes()
    assert b"\n" not in content
    assert content.decode("mac_roman").split("\r")[3] == "Märchen\tFiguren aus Grimms Märchen"


def test_files_that_people_have_changed_stay_after_a_restart(store: Store, tmp_path: Path):
    beside = Beside(store, tmp_path, 1, TODAY)
    with beside.started() as systems:
        port = systems.server.port
        (systems.drop_folder / "Schlagworte.txt").write_text("changed")
    with beside.started(port, fresh=False) as systems:
        assert systems.server.port == port
        assert (systems.drop_folder / "Schlagworte.txt").read_text() == "changed"
        with Beside(store, tmp_path / "other", 1, TODAY).started(port) as other:
            assert other.server.port != port, "somebody else listens there"
