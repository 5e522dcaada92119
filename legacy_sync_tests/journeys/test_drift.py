"""Is it noticed that a legacy table looks different from what it was when it was last seen?"""

from datetime import UTC, datetime

import pytest
from journey_setup import PARENTS, Journey

from legacy_sync.demo.four_d_server.store import AttributeDef
from legacy_sync.errors import SchemaDrift
from legacy_sync.sync.workspace import preflight

FAMILIES = "Artikel_Familie"


def look(journey: Journey, **how: bool) -> None:
    """The check before a run, by a workspace of its own like in every run."""
    journey.close()
    preflight(journey.workspace, [journey.workspace.project.get(PARENTS)], **how)


def retype(journey: Journey, name: str, kind: str) -> None:
    journey.store.alter_table(FAMILIES, drop=[name], add=[AttributeDef(name, kind)])


def test_column_of_another_type_stops_until_a_person_accepts_it(journey: Journey):
    look(journey)
    retype(journey, "Bezeichnung", "object")
    for _ in range(2):  # a refused look is not the new normal
        with pytest.raises(SchemaDrift, match=r'"Bezeichnung" .* is of type object now, it was string') as caught:
            look(journey)
    assert "--accept-shrink" in caught.value.next_step
    look(journey, accept=True)
    look(journey)


def test_missing_column_is_told_with_the_day_it_was_last_seen(journey: Journey):
    look(journey)
    journey.store.alter_table(FAMILIES, drop=["Bezeichnung"])
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    with pytest.raises(SchemaDrift, match=rf'no column "Bezeichnung" \(last seen {today}'):
        look(journey)


def test_other_changes_are_told_once_and_stop_nothing(journey: Journey, caplog: pytest.LogCaptureFixture):
    look(journey)
    journey.store.alter_table(FAMILIES, add=[AttributeDef("Farbton"), AttributeDef("Freigabe", "date")])
    look(journey)
    look(journey)
    told = [record.getMessage() for record in caplog.records if "has changed since" in record.getMessage()]
    assert len(told) == 1
    assert "new: Farbton, Freigabe" in told[0]


def test_plan_remembers_nothing(journey: Journey):
    look(journey)
    retype(journey, "Bezeichnung", "object")
    look(journey, accept=True, remember=False)
    with pytest.raises(SchemaDrift):
        look(journey)


def test_second_look_writes_nothing(journey: Journey):
    look(journey)
    before = journey.query("select xmin::text, * from legacy_sync.seen_table")
    look(journey)
    assert journey.query("select xmin::text, * from legacy_sync.seen_table") == before
    assert len(before) == 1
