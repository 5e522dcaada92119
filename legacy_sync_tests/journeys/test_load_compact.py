"""Does the landing stay small over many runs, and say the same as before?"""

import pytest
from journey_setup import PARENTS, Journey, key_of

from legacy_sync.sources.landing import Landing
from legacy_sync.sync import compact
from legacy_sync.sync.pipeline import load_entity
from legacy_sync.sync.windows import DELETED

TABLE = "Artikel_Familie"
SOFT = {"policy": "set", "set": {"is_active": False, "is_discontinued": True}, "max_share": 1.0}


@pytest.fixture
def counted(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> Journey:
    """Ten families of a tracked table, loaded; five fetches of changes are enough to become one."""
    monkeypatch.setattr(compact, "AT_MOST", 5)
    journey.store.enable_tracking(TABLE)
    journey.remap(PARENTS, change_detection={"strategy": "global_stamp"}, deletes=SOFT)
    for n in range(1, 11):
        journey.family(n)
    journey.run()
    return journey


def landed(journey: Journey, partition: str = "all") -> list[int]:
    """The rows of each landed fetch."""
    return [fetch.rows for fetch in journey.workspace.landing.fetches(TABLE, partition)]


def reload(journey: Journey) -> None:
    """The same landing into an ERP and a ledger that know nothing."""
    for table in ("binding", "quarantine", "change", "conflict", "loaded_fetch", "watermark", "run"):
        journey.execute(f"delete from legacy_sync.{table}")
    journey.execute(f"delete from {PARENTS}")
    load_entity(journey.workspace, journey.workspace.project.get(PARENTS))


def state(journey: Journey) -> list[dict[str, object]]:
    return journey.query(f"select sku, name, is_active, legacy_id from {PARENTS} order by sku")


def test_many_fetches_of_changes_become_one_with_the_newest_copies(counted: Journey):
    for number in range(40):
        counted.edit(key_of(number % 3 + 1), Bezeichnung=f"Name {number}")
        counted.run()
        assert len(landed(counted)) <= 1 + 6
    assert max(landed(counted)[1:]) <= 3
    assert counted.query("select count(*) as n from legacy_sync.loaded_fetch where partition = 'all'")[0]["n"] <= 7
    before = counted.places()
    assert counted.run().counts.read == 0
    assert counted.places() == before
    assert [counted.row(str(n))["name"] for n in (1, 2, 3)] == ["Name 39", "Name 37", "Name 38"]


def test_what_is_left_makes_the_same_rows_again(counted: Journey):
    for number in range(20):
        counted.edit(key_of(number % 3 + 1), Bezeichnung=f"Name {number}")
        counted.run()
    before = state(counted)
    reload(counted)
    assert state(counted) == before


def test_a_deleted_record_does_not_come_back_from_the_landing(counted: Journey):
    counted.edit(key_of(1), Bezeichnung="kurz vor dem Ende")
    counted.run()
    counted.store.delete(TABLE, key_of(1))
    counted.run()
    for number in range(12):
        counted.edit(key_of(2), Bezeichnung=f"Name {number}")
        counted.run()
    assert sum(landed(counted)[1:]) <= 6
    counted.remap(PARENTS, max_parked_share=0.6)
    counted.remap(PARENTS, fields={**counted.said[PARENTS]["fields"], "name_en": {"value": "x"}})
    counted.run()  # a new meaning: everything that is landed is loaded again
    assert counted.row("1")["is_active"] is False
    assert counted.row("2")["name_en"] == "x"


def test_many_tombstones_become_one_without_those_that_came_back(counted: Journey):
    for number in range(1, 9):
        counted.store.delete(TABLE, key_of(number))
        counted.run()
        if number % 2:
            counted.family(number, Bezeichnung="wieder da")
            counted.run()
    assert len(landed(counted, DELETED)) <= 6
    before = state(counted)
    assert [row["sku"] for row in before if not row["is_active"]] == ["2", "4", "6", "8"]
    load_entity(counted.workspace, counted.workspace.project.get(PARENTS), full=True)
    assert state(counted) == before


def test_run_that_dies_while_old_fetches_go_leaves_nothing_wrong(counted: Journey, monkeypatch: pytest.MonkeyPatch):
    counted.store.delete(TABLE, key_of(1))
    for number in range(5):
        counted.edit(key_of(2), Bezeichnung=f"Name {number}")
        counted.run()
    counted.edit(key_of(2), Bezeichnung="zuletzt")
    with monkeypatch.context() as patch:
        patch.setattr(Landing, "remove", die)
        with pytest.raises(SystemExit):
            counted.run()
    before = state(counted)
    assert len(landed(counted)) == 8  # the full one, six fetches of changes, and the one made of these
    counted.run()
    assert state(counted) == before
    for number in range(6):
        counted.edit(key_of(3), Bezeichnung=f"Name {number}")
        counted.run()
    assert len(landed(counted)) <= 7
    reload(counted)
    assert [row["name"] for row in state(counted) if row["sku"] == "2"] == ["zuletzt"]
    assert [row["sku"] for row in state(counted) if row["is_active"]] == sorted(str(n) for n in range(2, 11))


def test_nothing_is_made_one_before_every_mapping_has_taken_it_in(counted: Journey):
    texts = f"{PARENTS}.texts"
    said = counted.said[PARENTS]
    column = {"short_description": said["fields"].pop("short_description")}
    said["target"]["on_insert"]["short_description"] = ""
    counted.said[texts] = {
        "source": said["source"],
        "target": {"table": PARENTS, "natural_key": ["sku"], "rows": "existing"},
        "change_detection": said["change_detection"],
        "fields": {"sku": said["fields"]["sku"], **column},
    }
    counted.close()
    counted.run()
    counted.run(texts)
    for number in range(8):
        counted.edit(key_of(2), Beschreibung_kurz=f"Text {number}")
        counted.run()
    assert len(landed(counted)) > 8
    counted.run(texts)
    assert [rows for rows in landed(counted) if rows == 1] == [1, 1]  # the one made of eight, and one only one knows
    assert counted.row("2")["short_description"] == "Text 7"


def die(*_: object) -> None:
    raise SystemExit("killed")
