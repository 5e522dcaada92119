"""Does a run without changes leave everything as it is?"""

import pytest
from journey_setup import PARENTS, VARIANTS, Journey


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_second_run_writes_nothing(sample_journey: Journey, full: bool):
    sample_journey.run_all()
    rows, writes = sample_journey.places(PARENTS, VARIANTS), sample_journey.writes()
    sample_journey.run_all(full=full)
    ledger = sample_journey.places()
    reports = sample_journey.run_all(full=full)
    assert sample_journey.writes() == writes
    assert sample_journey.places(PARENTS, VARIANTS) == rows
    assert sample_journey.places() == ledger
    for report in reports.values():
        counts = report.counts
        assert (counts.inserted, counts.updated, counts.adopted, counts.conflicts, counts.replayed) == (0, 0, 0, 0, 0)


def test_full_run_counts_each_record_once(sample_journey: Journey):
    sample_journey.run_all()
    for report in sample_journey.run_all(full=True).values():
        assert report.counts.unchanged + report.counts.parked == report.counts.read


def test_run_from_an_empty_landing_writes_nothing(sample_journey: Journey):
    sample_journey.run_all()
    sample_journey.run_all()
    places = sample_journey.places(PARENTS, VARIANTS)
    sample_journey.landing_root += "-elsewhere"
    sample_journey.close()
    sample_journey.run_all(full=True)
    assert sample_journey.places(PARENTS, VARIANTS) == places


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("Nummer", 803721, "803721"),
        ("Nummer", "803721", 803721),
        ("Nummer", 803721, 803721.0),
        ("Nummer", "803721", "  803721 "),
        ("Gewicht", 12, 12.0),
        ("Gewicht", 12, "12"),
        ("Gewicht", 12.5, 12.75),
        ("aktiv", True, "true"),
        ("aktiv", True, 1),
        ("aktiv", False, "nein"),
        ("aktiv", False, None),
        ("Release_date", "1!3!2019", "01!03!2019"),
        ("Release_date", "1!3!2019", "2019-03-01"),
        ("Release_date", "1!3!2019", "01.03.2019"),
        ("Release_date", "0!0!0", None),
        ("Bezeichnung", "Osterhase", " Osterhase "),
        ("Beschreibung", "Hase", {"DE": "Hase", "EN": "Bunny"}),
        ("Beschreibung_ENG", "Bunny", '{"en": "Bunny"}'),
        ("Beschreibung_kurz", None, ""),
    ],
)
def test_other_spelling_of_the_same_value_writes_nothing(journey: Journey, column: str, first: object, second: object):
    key = journey.family(803721, **{column: first})
    journey.run()
    places = journey.places(PARENTS)
    journey.edit(key, **{column: second})
    report = journey.run()
    assert (report.counts.unchanged, report.counts.updated) == (1, 0)
    assert journey.places(PARENTS) == places


def test_legacy_number_of_another_type_is_the_same_reference(journey: Journey):
    parent = journey.family(1)
    key = journey.variant(2, parent, refOld=16939, fk_ArtNr=11400)
    journey.run_all()
    places = journey.places(PARENTS, VARIANTS)
    journey.edit(key, VARIANTS, refOld="16939", fk_ArtNr="11400", Nummer="2")
    journey.run_all()
    assert journey.places(PARENTS, VARIANTS) == places
    assert journey.row("2", VARIANTS)["refOld"] == "16939"


def test_change_writes_one_row_and_touches_only_its_columns(journey: Journey):
    keys = [journey.family(n) for n in range(1, 6)]
    journey.run()
    places = journey.places(PARENTS)[PARENTS]
    journey.edit(keys[2], Bezeichnung="Neu")
    report = journey.run()
    assert report.counts.updated == 1
    assert report.columns_changed == {"name": 1}
    assert len(set(journey.places(PARENTS)[PARENTS]) & set(places)) == 4


def test_created_at_stays_and_updated_at_moves_with_a_write(journey: Journey):
    key = journey.family(1)
    journey.run()
    before = journey.row("1")
    journey.run(full=True)
    assert journey.row("1") == before
    journey.edit(key, Bezeichnung="Neu")
    journey.run()
    after = journey.row("1")
    assert after["created_at"] == before["created_at"]
    assert after["updated_at"] > before["updated_at"]


def test_first_run_with_no_rows_at_all_succeeds(journey: Journey):
    reports = journey.run_all()
    assert [r.outcome for r in reports.values()] == ["succeeded", "succeeded"]
    assert journey.skus() == []
