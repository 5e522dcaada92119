"""Do the demo's servers have the same rows after a restart? Otherwise a run would bring changes that nobody made."""

from pathlib import Path

from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.past import Past
from legacy_sync.demo.sample_data import FAMILIES, TODAY
from legacy_sync.demo.state import DemoFolder
from legacy_sync.demo.web_services import Beside
from legacy_sync.demo.working_day import happen


def rows(store: Store) -> dict[str, list[dict[str, object]]]:
    return {name: store.rows(name) for name in store.tables}


def test_a_restart_makes_the_same_rows_on_all_sides(tmp_path: Path):
    folder = DemoFolder(tmp_path / ".legacy_sync")
    folder.make()
    past = Past(1, 60, 200, TODAY)
    store = past.begin()
    beside = Beside(store, folder.others, past.seed, past.today)
    key = str(store.rows(FAMILIES)[0]["__KEY"])
    with FourDServer(store, actions=past.actions()) as server:
        before = rows(store)
        happen(folder, past, server.url, "actions/change_some", {"seed": 7})
        happen(folder, past, server.url, "rows", {"table": FAMILIES, "update": {key: {"Bezeichnung": "anders"}}})
    assert rows(store) != before

    again = Past.find(folder)
    assert again is not None
    restarted = again.begin()
    beside_again = Beside(restarted, folder.others, again.seed, again.today)
    again.catch_up(restarted)
    assert rows(restarted) == rows(store)
    assert beside_again.cms.files == beside.cms.files
    assert beside_again.books.receipts == beside.books.receipts
