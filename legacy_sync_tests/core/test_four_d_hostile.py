"""Which answers that no sane server sends are told from data? Each of these once ended a run with a traceback."""

from typing import Any

import pytest

from legacy_sync.errors import SourceRefused, SourceUntrustworthy
from legacy_sync.sources.four_d.answers import find_errors, parse_json, read_answer
from legacy_sync.sources.four_d.catalog import read_catalog
from legacy_sync.sources.four_d.filters import Selection
from legacy_sync.sources.four_d.wire import decode_date, read_envelope

JSON = "application/json"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"9" * 5000 + b"}", b'{"a":"\\ud800'])
def test_json_without_end_and_numbers_of_thousands_of_digits_are_no_answer(body: bytes) -> None:
    assert parse_json(body, JSON) is None


def test_a_code_of_thousands_of_digits_is_none() -> None:
    (error,) = find_errors({"__ERROR": [{"errCode": "9" * 5000, "message": "x"}]})
    assert error.code == 0


@pytest.mark.parametrize(
    "said",
    [
        {"dataClasses": [{"name": 7}]},
        {"dataClasses": [{"name": "T", "attributes": [{"kind": "storage"}]}]},
        {"dataClasses": [{"name": "T", "attributes": [None]}]},
        {"dataClasses": [{"name": "T", "attributes": {"name": "x"}}]},
        {"dataClasses": [{"name": "T", "key": 7}]},
        {"name": ["T"]},
    ],
)
def test_a_catalog_without_names_is_none(said: Any) -> None:
    with pytest.raises(SourceUntrustworthy, match="no 4D catalog"):
        read_catalog(said, "here")


@pytest.mark.parametrize("key", [[], {}, True, [1]])
def test_a_key_that_is_no_value_is_refused(key: Any) -> None:
    with pytest.raises(SourceUntrustworthy, match="is no value"):
        read_envelope({"__ENTITIES": [{"__KEY": key}], "__COUNT": 1}, "here")
    with pytest.raises(SourceUntrustworthy, match="is no value"):
        Selection(key="UID").check([{"UID": key}], "here")


def test_a_count_is_not_repeated_in_full() -> None:
    with pytest.raises(SourceUntrustworthy) as refusal:
        read_envelope({"__ENTITIES": [], "__COUNT": "x" * 50_000}, "here")
    assert len(refusal.value.what) < 200


@pytest.mark.parametrize("stamp", [float("inf"), float("nan"), True, "7", [7]])
def test_a_counter_that_is_no_number_is_none(stamp: Any) -> None:
    page = read_envelope({"__ENTITIES": [], "__COUNT": 0, "__GlobalStamp": stamp, "__GLOBALSTAMP": stamp}, "here")
    assert page.stamp is None


@pytest.mark.parametrize("text", ["99!99!99999999999999", "1!1!99999999999999999999", "!!x!!", "1!2"])
def test_a_day_beyond_all_calendars_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_date(text)


def test_a_redirect_is_shown_without_a_login_in_it() -> None:
    with pytest.raises(SourceRefused) as refusal:
        read_answer(302, {"Location": "http://u:secret@h/?token=secret"}, b"", "here")
    assert "secret" not in str(refusal.value)
