"""Which records will the next ordinary run read, so that what differs in them is only a matter of time?"""

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.base import KEY, STAMP
from legacy_sync.sync.due import Due
from legacy_sync.sync.scopes import Marks, as_mark, plan_fetches

TODAY = date(2025, 3, 20)
MONTHS = {"type": "window", "size": "month", "start": "2025-01-01"}
JAN, FEB, MAR = "2025-01-01", "2025-02-01", "2025-03-01"
LOADED: Marks = {JAN: "2025-01-30", FEB: "2025-02-27", MAR: "2025-03-19"}
DAYS = ["17!3!2025", "18!3!2025", "0!0!0", None, "5!1!2025"]


def due(marks: Marks, batch: dict[str, Any], *, everything: bool = False, **words: Any) -> list[bool]:
    said = {
        "entity": "t",
        "source": {"table": "T", "cursor": "modified_date"},
        "target": {"table": "t"},
        "fields": {"a": {"from": "A"}},
        "partitions": MONTHS,
    }
    mapping = Mapping.model_validate({**said, **words})
    plans = plan_fetches(mapping, [marks], None, full=False, today=TODAY)
    found: list[bool] = Due(mapping, plans, everything=everything).of(pa.RecordBatch.from_pydict(batch)).to_pylist()
    return found


def test_records_behind_the_watermark_minus_lookback_are_read_and_those_without_a_day():
    assert due(LOADED, {"modified_date": DAYS}) == [False, True, True, True, False]


def test_records_of_a_window_that_was_never_loaded_are_read():
    marks = {partition: value for partition, value in LOADED.items() if partition != JAN}
    assert due(marks, {"modified_date": DAYS}) == [False, True, True, True, True]


@pytest.mark.parametrize(
    "words", [{"everything": True}, {"change_detection": {"strategy": "fingerprint"}}, {"partitions": {"type": "none"}}]
)
def test_everything_is_read_by_a_run_of_all_rows(words: dict[str, Any]):
    assert due({} if "partitions" in words else LOADED, {"modified_date": DAYS}, **words) == [True] * 5


def test_records_saved_since_the_place_of_the_counter_are_read():
    marks = {**LOADED, "stamp": as_mark(700)}
    words = {"change_detection": {"strategy": "global_stamp"}}
    batch = {"modified_date": DAYS[:3], STAMP: pa.array([699, 700, None], pa.int64())}
    assert due(marks, batch, **words) == [False, True, True]
    assert due(marks, {"modified_date": DAYS[:1]}, **words) == [True]


def test_slices_of_keys_that_were_never_loaded_are_read():
    words = {"partitions": {"type": "key_range", "buckets": 4}}
    marks: dict[str, str | None] = {"k00": "2025-03-19", "k01": "2025-03-19", "k02": "2025-03-19"}
    batch = {KEY: ["00AA", "40AA", "BFFF", "C0AA"], "modified_date": ["1!1!2025", "19!3!2025", "1!1!2025", "1!1!2025"]}
    assert due(marks, batch, **words) == [False, True, False, True]
    del marks["k02"]
    assert due(marks, batch, **words) == [False, True, True, True]
