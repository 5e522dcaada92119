"""What does an incremental run fetch, and from where on?"""

from datetime import date

from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.scopes import FetchPlan, covers_whole_table, plan_fetches

TODAY = date(2025, 3, 20)
MONTHS = {"type": "window", "size": "month", "start": "2025-01-01"}
JAN, FEB, MAR = "2025-01-01", "2025-02-01", "2025-03-01"


def mapping(partitions: dict[str, object] | None = None, **words: object) -> Mapping:
    said = {
        "entity": "t",
        "source": {"table": "T", "cursor": "modified_date"},
        "target": {"table": "t"},
        "fields": {"a": {"from": "A"}},
        "partitions": partitions or MONTHS,
    }
    return Mapping.model_validate({**said, **words})


def shown(plans: list[FetchPlan]) -> list[tuple[list[str], str | None, list[str]]]:
    """Each stream as (windows, lower bound, windows fetched whole)."""
    return [
        ([w.partition for w in p.windows], p.cursor_from.isoformat() if p.cursor_from else None, sorted(p.full))
        for p in plans
    ]


def test_first_run_is_one_stream_over_all_windows():
    plans = plan_fetches(mapping(), [{}], None, full=False, today=TODAY)
    assert shown(plans) == [([JAN, FEB, MAR], None, [JAN, FEB, MAR])]
    assert covers_whole_table(mapping(), plans, TODAY)


def test_next_run_reads_the_open_window_from_the_watermark_minus_lookback():
    marks = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-19"}
    plans = plan_fetches(mapping(), [marks], None, full=False, today=TODAY)
    assert shown(plans) == [([MAR], "2025-03-18", [])]
    assert not covers_whole_table(mapping(), plans, TODAY)


def test_lookback_may_reach_into_the_window_before():
    marks = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-01"}
    plans = plan_fetches(mapping(), [marks], None, full=False, today=TODAY)
    assert shown(plans) == [([FEB, MAR], "2025-02-28", [MAR])]


def test_longer_lookback_reads_more():
    marks = {JAN: None, FEB: None, MAR: "2025-03-19"}
    detection = {"strategy": "timestamp", "lookback": "30d"}
    plans = plan_fetches(mapping(change_detection=detection), [marks], None, full=False, today=TODAY)
    assert shown(plans) == [([FEB, MAR], "2025-02-17", [MAR])]


def test_window_never_loaded_is_fetched_whole():
    marks = {JAN: "2025-01-30", MAR: "2025-03-19"}
    plans = plan_fetches(mapping(), [marks], None, full=False, today=TODAY)
    assert shown(plans) == [([FEB], FEB, [FEB]), ([MAR], "2025-03-18", [])] or shown(plans) == [
        ([FEB, MAR], FEB, [FEB, MAR])
    ]


def test_loaded_windows_that_were_all_empty_are_read_whole():
    plans = plan_fetches(mapping(), [{JAN: None, FEB: None, MAR: None}], None, full=False, today=TODAY)
    assert shown(plans) == [([JAN, FEB, MAR], None, [JAN, FEB, MAR])]


def test_new_month_is_read_beside_the_end_of_the_last_one():
    marks = {JAN: "2025-01-30", FEB: "2025-02-28"}
    plans = plan_fetches(mapping(), [marks], None, full=False, today=date(2025, 3, 1))
    assert shown(plans) == [([FEB, MAR], "2025-02-27", [MAR])]


def test_full_run_ignores_the_watermark():
    marks = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-19"}
    plans = plan_fetches(mapping(), [marks], None, full=True, today=TODAY)
    assert shown(plans) == [([JAN, FEB, MAR], None, [JAN, FEB, MAR])]


def test_named_old_window_is_fetched_whole_again():
    marks = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-19"}
    plans = plan_fetches(mapping(), [marks], [FEB], full=False, today=TODAY)
    assert shown(plans) == [([FEB], FEB, [FEB])]
    assert plans[0].cursor_to == date(2025, 3, 1)


def test_named_windows_apart_are_two_streams():
    plans = plan_fetches(mapping(), [{}], [JAN, MAR], full=True, today=TODAY)
    assert shown(plans) == [([JAN], None, [JAN]), ([MAR], MAR, [MAR])]
    assert not covers_whole_table(mapping(), plans, TODAY)


def test_reader_that_is_furthest_behind_counts():
    ahead = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-19"}
    behind = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-05"}
    plans = plan_fetches(mapping(), [ahead, behind], None, full=False, today=TODAY)
    assert shown(plans) == [([MAR], "2025-03-04", [])]
    plans = plan_fetches(mapping(), [ahead, {}], None, full=False, today=TODAY)
    assert shown(plans) == [([JAN, FEB, MAR], None, [JAN, FEB, MAR])]


def test_fingerprint_reads_everything_every_time():
    marks = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-19"}
    said = mapping(change_detection={"strategy": "fingerprint"})
    plans = plan_fetches(said, [marks], None, full=False, today=TODAY)
    assert covers_whole_table(said, plans, TODAY)


def test_unpartitioned_table_is_read_from_its_watermark():
    plans = plan_fetches(mapping({"type": "none"}), [{"all": "2025-03-19"}], None, full=False, today=TODAY)
    assert shown(plans) == [(["all"], "2025-03-18", [])]


def test_key_range_is_read_from_its_own_watermark():
    said = mapping({"type": "key_range", "buckets": 4})
    marks = {"k00": "2025-03-19", "k01": "2025-03-10", "k02": None}
    plans = plan_fetches(said, [marks], None, full=False, today=TODAY)
    assert shown(plans) == [
        (["k00"], "2025-03-18", []),
        (["k01"], "2025-03-09", []),
        (["k02", "k03"], None, ["k02", "k03"]),  # whole neighbours are one stream
    ]


# --- slices of a number

NUMBERS = {"type": "number_range", "attribute": "AbsNr", "size": 5000, "count": 4}
SLICES = ["n00", "n01", "n02", "n03"]
LOADED = dict.fromkeys(SLICES, "2025-03-10")


def slices(
    marks: list[dict[str, str | None]], partitions: list[str] | None = None, *, full: bool = False, **words: object
) -> list[tuple[list[str], str | None, list[str]]]:
    return shown(plan_fetches(mapping(NUMBERS, **words), marks, partitions, full=full, today=TODAY))


def test_first_run_over_slices_is_one_stream_without_bounds():
    (plan,) = plan_fetches(mapping(NUMBERS), [{}], None, full=False, today=TODAY)
    assert shown([plan]) == [(SLICES, None, SLICES)]
    assert (plan.number_from, plan.number_to, plan.across) == (None, None, False)
    assert covers_whole_table(mapping(NUMBERS), [plan], TODAY)


def test_changes_of_all_loaded_slices_are_one_stream():
    (plan,) = plan_fetches(mapping(NUMBERS), [LOADED], None, full=False, today=TODAY)
    assert shown([plan]) == [(SLICES, "2025-03-09", [])]
    assert (plan.number_from, plan.number_to, plan.across) == (None, None, True)
    assert not covers_whole_table(mapping(NUMBERS), [plan], TODAY)


def test_slices_that_were_never_loaded_are_fetched_whole_before_the_changes_of_the_others():
    plans = plan_fetches(mapping(NUMBERS), [{"n00": "2025-03-10", "n01": "2025-03-10"}], None, full=False, today=TODAY)
    assert shown(plans) == [(["n02", "n03"], None, ["n02", "n03"]), (["n00", "n01"], "2025-03-09", [])]
    assert [(p.number_from, p.number_to) for p in plans] == [(10000, None), (None, 10000)]
    assert not covers_whole_table(mapping(NUMBERS), plans, TODAY)


def test_loaded_slices_apart_share_the_stream_of_changes():
    marks = {"n00": "2025-03-10", "n02": "2025-03-10"}
    assert slices([marks]) == [
        (["n01"], None, ["n01"]),
        (["n03"], None, ["n03"]),
        (["n00", "n02"], "2025-03-09", []),
    ]


def test_changes_are_read_from_the_slice_furthest_behind_until_a_stream_covered_all():
    marks = {**LOADED, "n02": "2025-01-05"}
    assert slices([marks]) == [(SLICES, "2025-01-04", [])]
    assert slices([{**marks, "*": "2025-03-15"}]) == [(SLICES, "2025-03-14", [])]
    assert slices([{**LOADED, "*": "2025-03-01"}]) == [(SLICES, "2025-03-09", [])]


def test_named_slices_are_fetched_whole():
    assert slices([LOADED], ["n01", "n02"]) == [(["n01", "n02"], None, ["n01", "n02"])]
    assert slices([LOADED], ["n00", "n02"]) == [(["n00"], None, ["n00"]), (["n02"], None, ["n02"])]


def test_all_slices_named_are_as_none_named():
    assert slices([LOADED], SLICES) == [(SLICES, "2025-03-09", [])]


def test_full_run_and_fingerprint_read_all_slices():
    everything = [(SLICES, None, SLICES)]
    assert slices([LOADED], full=True) == everything
    assert slices([LOADED], change_detection={"strategy": "fingerprint"}) == everything


def test_reader_that_lacks_a_slice_has_it_fetched_whole():
    behind = {**LOADED, "n01": None}
    assert slices([LOADED, behind]) == [(["n01"], None, ["n01"]), (["n00", "n02", "n03"], "2025-03-09", [])]
    assert slices([LOADED, {**LOADED, "n01": "2025-02-01"}]) == [(SLICES, "2025-01-31", [])]
