"""Do the other kinds of partitions bring every row too: slices of the key, weeks?"""

from journey_setup import PARENTS, Journey


def test_slices_of_the_key_bring_every_row_once(journey: Journey):
    journey.remap(PARENTS, partitions={"type": "key_range", "buckets": 4})
    for number in range(1, 16):
        journey.family(number, UID=f"{number:X}" * 32)
    report = journey.run()
    assert (report.counts.inserted, len(report.partitions)) == (15, 4)
    before = journey.places(PARENTS)
    assert journey.run(full=True).counts.unchanged == 15
    assert journey.places(PARENTS) == before


def test_one_slice_of_the_key_can_be_loaded_alone(journey: Journey):
    journey.remap(PARENTS, partitions={"type": "key_range", "buckets": 4})
    keys = [journey.family(number, UID=f"{number:X}" * 32) for number in range(1, 16)]
    journey.run()
    journey.edit(keys[7], Bezeichnung="im dritten Viertel")
    assert journey.run(PARENTS, ["k00"]).counts.updated == 0
    assert journey.run(PARENTS, ["k02"]).counts.updated == 1
    assert journey.row("8")["name"] == "im dritten Viertel"


def test_weeks_bring_every_row(journey: Journey):
    weeks = {"type": "window", "size": "week", "start": "2026-10-01", "timezone": "Europe/Berlin"}
    journey.remap(PARENTS, partitions=weeks)
    for number in range(1, 6):
        journey.family(number)
    assert journey.run().counts.inserted == 5
    assert journey.run().counts.updated == 0
