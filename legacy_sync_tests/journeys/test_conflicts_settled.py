"""What if a person decides a conflict? The value goes the way of every other, and the conflict does not come back."""

from typing import Any

import pytest
from journey_setup import PARENTS, Journey

from legacy_sync.errors import ChoiceUnusable, RowNotFound
from legacy_sync.ledger.conflicts import get_conflict
from legacy_sync.sync.resolve import Choice, Settled, choose, resolve

KEY = "A" * 32


@pytest.fixture
def waiting(journey: Journey) -> Journey:
    """Both sides changed the name of one family, and that waits."""
    journey.family(1, Bezeichnung="Hase", Bezeichnung_ENG="Bunny", Gewicht=10, UID=KEY)
    journey.run()
    both_change_the_name(journey)
    journey.run()
    return journey


def both_change_the_name(journey: Journey) -> None:
    journey.erp_edit("1", name="Häschen")
    journey.edit(KEY, Bezeichnung="Hasi")


def numbers(journey: Journey, column: str | None = None) -> list[int]:
    rows = journey.query("select id, column_name from legacy_sync.conflict where status = 'open' order by id")
    return [row["id"] for row in rows if column in (None, row["column_name"])]


def settle(
    journey: Journey, keep: Any, value: str | None = None, *, ids: list[int] | None = None, **how: Any
) -> Settled:
    which = choose(journey.workspace, ids=ids) if ids else choose(journey.workspace, every=True)
    return resolve(journey.workspace, which, Choice(keep, "anna", value, how.pop("comment", None)), **how)


def closed(journey: Journey) -> list[tuple[Any, ...]]:
    rows = journey.query(
        "select base_value, legacy_value, erp_value, winner, decided_by from legacy_sync.conflict"
        " where status <> 'open' order by id"
    )
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("keep", "value", "name"),
    [("legacy", None, "Hasi"), ("erp", None, "Häschen"), ("value", "Hasi-Häschen", "Hasi-Häschen")],
)
def test_a_choice_counts_and_the_conflict_does_not_come_back(
    waiting: Journey, keep: str, value: str | None, name: str
) -> None:
    settled = settle(waiting, keep, value, comment="as the catalogue says")
    assert (len(settled.decided), settled.waiting) == (1, {})
    assert closed(waiting) == [("Hase", "Hasi", "Häschen", keep, "anna")]
    before = waiting.places()
    for full in (False, True):
        waiting.run(full=full)
    waiting.remap(PARENTS, adoption={"policy": "erp_wins"})  # another version: what is landed is loaded again
    assert waiting.run().counts.kept == (0 if keep == "legacy" else 1)
    assert waiting.row("1")["name"] == name
    assert waiting.places() == before
    assert waiting.query("select * from legacy_sync.conflict_record") == []
    assert waiting.query("select comment from legacy_sync.conflict") == [{"comment": "as the catalogue says"}]


@pytest.mark.parametrize(("keep", "name"), [("legacy", "Neu"), ("value", "Neu"), ("erp", "Häschen")])
def test_a_later_change_in_the_legacy_system_is_a_new_matter(waiting: Journey, keep: str, name: str) -> None:
    """What both agreed on is overwritten; an edit that was kept is still one, and waits again."""
    settle(waiting, keep, "Hasi-Häschen" if keep == "value" else None)
    waiting.edit(KEY, Bezeichnung="Neu")
    waiting.run()
    assert waiting.row("1")["name"] == name
    assert waiting.conflicts() == ([("name", "Hasi", "Neu", "Häschen", None)] if keep == "erp" else [])


@pytest.mark.parametrize("keep", ["legacy", "value", "erp"])
def test_a_later_edit_in_the_erp_stays_without_a_conflict(waiting: Journey, keep: str) -> None:
    settle(waiting, keep, "Hasi-Häschen" if keep == "value" else None)
    waiting.erp_edit("1", name="Neu")
    waiting.run(full=True)
    assert (waiting.row("1")["name"], waiting.conflicts()) == ("Neu", [])


def test_a_chosen_value_has_its_images(waiting: Journey) -> None:
    report = settle(waiting, "value", "Hasi-Häschen").reports[0]
    (change,) = waiting.query("select run_id, columns, before, after from legacy_sync.change")
    assert change == {"run_id": report.run_id, "columns": ["name"], "before": ["Häschen"], "after": ["Hasi-Häschen"]}
    assert waiting.query("select mode from legacy_sync.run where id = %s", report.run_id) == [{"mode": "replay"}]


def test_a_choice_does_not_count_when_the_erp_changed_since(waiting: Journey) -> None:
    (number,) = numbers(waiting)
    waiting.erp_edit("1", name="Häschen II")
    settled = settle(waiting, "legacy")
    (after,) = numbers(waiting)
    assert settled.decided == []
    assert settled.waiting == {
        number: f"not carried out, since there was a later change in the ERP: conflict {after} waits now"
    }
    assert waiting.row("1")["name"] == "Häschen II"
    assert waiting.conflicts() == [("name", "Hase", "Hasi", "Häschen II", None)]
    assert closed(waiting) == [("Hase", "Hasi", "Häschen", None, "a later change in the ERP")]


def test_a_number_means_the_values_it_was_found_with(waiting: Journey) -> None:
    (number,) = numbers(waiting)
    since = waiting.query("select detected_at from legacy_sync.conflict")
    waiting.edit(KEY, Bezeichnung="Hasi II")
    waiting.run()
    with pytest.raises(ChoiceUnusable, match=f"conflict {number} is settled already by a later change in the legacy"):
        choose(waiting.workspace, ids=[number])
    assert waiting.query("select detected_at from legacy_sync.conflict where status = 'open'") == since
    assert len(settle(waiting, "legacy").decided) == 1
    assert waiting.row("1")["name"] == "Hasi II"


def test_another_column_changed_since_and_goes_on(waiting: Journey) -> None:
    """The kept record is as new as what is loaded: a choice takes nothing back."""
    waiting.edit(KEY, Gewicht=11)
    waiting.run()
    assert len(settle(waiting, "legacy").decided) == 1
    assert (waiting.row("1")["name"], waiting.row("1")["weight"]) == ("Hasi", 11)


@pytest.mark.parametrize("full", [False, True])
def test_a_waiting_row_is_not_written_again(waiting: Journey, full: bool) -> None:
    tables = [PARENTS, *(f"legacy_sync.{t}" for t in ("binding", "conflict", "conflict_record", "change"))]
    before = waiting.places(*tables)
    waiting.run(full=full)
    waiting.run(full=full)
    assert waiting.places(*tables) == before


def test_a_dry_run_writes_nothing(waiting: Journey) -> None:
    before = waiting.places(), waiting.query("select count(*) from legacy_sync.run")
    settled = settle(waiting, "legacy", dry_run=True)
    assert [c["winner"] for c in settled.decided] == ["legacy"]
    assert (waiting.places(), waiting.query("select count(*) from legacy_sync.run")) == before


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("weight", "heavy", 'invalid input syntax for type integer: "heavy"'),
        ("weight", "99999999999", "out of range"),
        ("name", "x" * 256, "256 characters, and the column holds 255"),
        ("sku", "a\x00b", "no NUL"),
    ],
)
def test_an_unusable_value_is_refused_before_anything_is_written(
    waiting: Journey, column: str, value: str, problem: str
) -> None:
    waiting.execute("update legacy_sync.conflict set column_name = %s", column)
    before = waiting.places(), waiting.query("select count(*) from legacy_sync.run")
    with pytest.raises(ChoiceUnusable, match=problem):
        settle(waiting, "value", value)
    assert (waiting.places(), waiting.query("select count(*) from legacy_sync.run")) == before


def test_a_value_another_row_has_is_refused_and_the_others_go_on(waiting: Journey) -> None:
    other = waiting.family(2, Bezeichnung="Igel")
    waiting.run()
    waiting.execute("update products_parentproduct set sku = '9' where sku = '1'")
    waiting.edit(KEY, Nummer=3)
    waiting.remap(PARENTS, fields={"sku": {**waiting.said[PARENTS]["fields"]["sku"], "conflict": "manual"}})
    waiting.run()
    before = waiting.row("9")
    settled = settle(waiting, "value", "2", ids=numbers(waiting, "sku"))
    (why,) = settled.waiting.values()
    assert "refused, nothing was written" in why
    assert 'the same sku "2"' in why
    assert (waiting.row("9"), waiting.parked()) == (before, {})
    assert waiting.row("2")["legacy_id"] == other
    assert len(settle(waiting, "value", "4", ids=numbers(waiting, "sku")).decided) == 1
    assert waiting.skus() == ["2", "4"]


def test_differences_found_at_adoption_wait_and_can_be_decided(journey: Journey) -> None:
    journey.remap(PARENTS, adoption={"policy": "manual"})
    journey.erp_insert(PARENTS, sku="1", name="Old name", legacy_id=KEY, is_active=True, description="",
                       description_en=None)  # fmt: skip
    journey.family(1, Bezeichnung="Hase", UID=KEY)
    for _ in range(2):
        journey.run(full=True)
    assert {c[0]: c[1:4] for c in journey.conflicts()} == {
        "name": (None, "Hase", "Old name"), "description_en": (None, "", None),
    }  # fmt: skip
    assert len(settle(journey, "erp", ids=numbers(journey, "name")).decided) == 1
    assert len(settle(journey, "legacy").decided) == 1
    before = journey.places()
    journey.run(full=True)
    assert (journey.row("1")["name"], journey.row("1")["description_en"]) == ("Old name", "")
    assert journey.places() == before


def test_newest_wins_without_a_time_of_the_edit_waits_for_a_person(journey: Journey) -> None:
    journey.remap(PARENTS, conflicts={"policy": "newest_wins"})
    journey.family(1, Bezeichnung="Hase", UID=KEY)
    journey.run()
    journey.execute("update products_parentproduct set name = 'Häschen'")  # Django's save of single columns
    journey.edit(KEY, Bezeichnung="Hasi")
    journey.run()
    assert [c[3] for c in journey.conflicts()] == ["Häschen"]
    assert len(settle(journey, "legacy").decided) == 1
    assert closed(journey) == [("Hase", "Hasi", "Häschen", "legacy", "anna")]


def test_a_policy_says_that_it_decided(waiting: Journey) -> None:
    waiting.remap(PARENTS, conflicts={"policy": "legacy_wins"})
    waiting.run(full=True)
    assert closed(waiting) == [("Hase", "Hasi", "Häschen", "legacy", "policy legacy_wins")]
    assert waiting.row("1")["name"] == "Hasi"


def test_a_conflict_from_before_records_were_kept_is_decided_by_the_next_load_of_its_row(waiting: Journey) -> None:
    waiting.execute("delete from legacy_sync.conflict_record")
    (why,) = settle(waiting, "legacy").waiting.values()
    assert f"`legacy-sync run {PARENTS} --full`" in why
    assert waiting.row("1")["name"] == "Häschen"
    waiting.run(full=True)
    assert waiting.row("1")["name"] == "Hasi"
    assert closed(waiting) == [("Hase", "Hasi", "Häschen", "legacy", "anna")]


def test_a_choice_that_a_dead_process_left_is_carried_out_by_the_next_run(waiting: Journey) -> None:
    waiting.execute("update legacy_sync.conflict set choice = 'legacy', chosen_by = 'anna'")
    waiting.run()
    assert waiting.row("1")["name"] == "Hasi"


def test_what_is_not_clear_is_refused(waiting: Journey) -> None:
    for how in ({}, {"ids": [1], "every": True}, {"entity": PARENTS, "every": True}):
        with pytest.raises(ChoiceUnusable, match="not clear which conflicts are meant"):
            choose(waiting.workspace, **how)
    with pytest.raises(RowNotFound, match="there is no conflict 987654"):
        choose(waiting.workspace, ids=[987654])
    assert len(choose(waiting.workspace, entity=PARENTS, column="name")) == 1
    assert choose(waiting.workspace, entity=PARENTS, column="sku") == []


def test_a_conflict_shows_its_record(waiting: Journey) -> None:
    with waiting.workspace.erp() as connection:
        conflict = get_conflict(connection, numbers(waiting)[0])
    assert (conflict["record"]["Bezeichnung"], conflict["record"]["__KEY"]) == ("Hasi", KEY)


def test_a_thousand_conflicts_are_settled_at_once(journey: Journey) -> None:
    for number in range(1000):
        journey.family(number)
    journey.run()
    journey.execute("update products_parentproduct set name = name || ' (ERP)', updated_at = now()")
    for number in range(1000):
        journey.edit(f"{number:032X}", Bezeichnung=f"Neu {number}")
    journey.run()
    assert len(settle(journey, "legacy").decided) == 1000
    assert journey.query("select count(*) from products_parentproduct where left(name, 4) = 'Neu '") == [
        {"count": 1000}
    ]
