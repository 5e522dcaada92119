"""Is a filter written so that 4D cannot misread it, and is a row that does not obey it found?"""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_sync.errors import SourceRefused, SourceUntrustworthy
from legacy_sync.sources.base import Scope
from legacy_sync.sources.four_d.filters import Filter, Selection, selection_of, writable_name

APRIL = Selection(cursor="modified_date", cursor_from=date(2025, 4, 1), cursor_to=date(2025, 5, 1), key="UID")


def rows(*dates: str | None) -> list[dict[str, object]]:
    """Rows with these dates and ascending keys."""
    return [{"UID": f"{n:032X}", "modified_date": day} for n, day in enumerate(dates)]


def test_no_bound_writes_no_filter():
    assert Selection(key="UID").filter().parameters() == {}


def test_every_part_has_its_brackets():
    selection = Selection("Datum", None, date(2025, 5, 1), with_blank_cursor=True, key="UID", after="AB")
    assert selection.filter().parameters() == {
        "$filter": '"(((Datum < :1) or (Datum = null)) and (UID > :2))"',
        "$params": '\'["2025-05-01","AB"]\'',
    }


def test_numbers_stay_numbers():
    assert Selection(key="Nr", key_from=5, after=9).filter() == Filter("((Nr >= :1) and (Nr > :2))", (5, 9))


@given(st.lists(st.text() | st.integers(), min_size=1, max_size=4))
def test_values_survive_and_bring_no_quote_of_their_own(values):
    text = Filter("(a = :1)", tuple(values)).parameters()["$params"]
    assert text[0] == text[-1] == "'"
    assert "'" not in text[1:-1]
    assert text.isascii()
    assert json.loads(text[1:-1]) == values
    assert text.count('"') == 2 * sum(isinstance(value, str) for value in values)


def test_backslashes_and_quotes_beside_each_other_survive():
    text = Filter("(a = :1)", ('\\"\\\\"',)).parameters()["$params"]
    assert json.loads(text[1:-1]) == ['\\"\\\\"']


@pytest.mark.parametrize("name", ["__KEY", "__STAMP", "__TIMESTAMP", "a b", "a.b", "a=1", "", 'a"', "a)"])
def test_a_name_that_cannot_stand_in_a_filter_is_refused(name):
    with pytest.raises(SourceRefused, match="no attribute name"):
        writable_name(name)


@pytest.mark.parametrize("name", ["Straße", "Familie_", "__GlobalStamp", "data_", "x1"])
def test_names_of_real_databases_are_fine(name):
    assert writable_name(name) == name


def test_rows_inside_the_window_pass():
    APRIL.check(rows("1!4!2025", "30!4!2025", "!!2025-04-10!!"), "here")


@pytest.mark.parametrize("day", ["31!3!2025", "1!5!2025", None, "0!0!0", "1!1!1999"])
def test_a_row_outside_the_window_means_that_the_filter_was_ignored(day):
    with pytest.raises(SourceUntrustworthy, match="filter ignored"):
        APRIL.check(rows("2!4!2025", day), "here")


def test_rows_without_a_cursor_belong_to_the_first_window_only():
    first = Selection("modified_date", None, date(2025, 5, 1), with_blank_cursor=True)
    first.check(rows(None, "0!0!0", "1!1!1999"), "here")
    with pytest.raises(SourceUntrustworthy):
        first.check(rows("1!5!2025"), "here")


def test_a_date_with_a_time_may_lie_in_another_zone():
    APRIL.check(rows("2025-03-31T22:00:00Z", "2025-05-01T01:00:00Z"), "here")
    with pytest.raises(SourceUntrustworthy):
        APRIL.check(rows("2025-03-30T22:00:00Z"), "here")


def test_a_cursor_that_is_no_date_is_named_and_its_row_used(caplog):
    selection = Selection(cursor="modified_date", cursor_from=date(2025, 1, 1))
    selection.check([{"modified_date": "31!2!2025"}], "here")
    assert 'the value "31!2!2025" of the cursor "modified_date" is no date' in caplog.text


def test_a_year_of_two_digits_is_read_as_the_casts_do():
    Selection(cursor="modified_date", cursor_from=date(2025, 1, 1)).check([{"modified_date": "5!3!25"}], "here")


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        (Selection(key="K", after=9), [10, 9]),
        (Selection(key="K", after=9), [2]),
        (Selection(key="K", key_from=5), [4]),
        (Selection(key="K", key_to=5), [5]),
        (Selection(key="K", after="B0"), ["B1", "a9"]),
        (Selection(key="K", after="b0"), ["B0"]),
        (Selection(key="K", key_to="8"), ["7F", "80"]),
        (Selection(key="K", after="7f3c0a00-0000-4000-8000-000000000001"), ["7F3C0A00-0000-4000-8000-000000000000"]),
        (Selection(key="K", after="Ö 1"), ["Ö 2", "Ö 1"]),
    ],
)
def test_a_key_outside_means_that_the_filter_was_ignored(selection, keys):
    with pytest.raises(SourceUntrustworthy, match="filter ignored"):
        selection.check([{"K": key} for key in keys], "here")


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        (Selection(key="K", after=9), [10, 100]),
        (Selection(key="K", after="b0"), ["B1", "c0", "D"]),
        (Selection(key="K", after="Zebra"), ["Ärger", "a-b"]),  # only the server knows how it sorts these
        (Selection(key="K", key_from="8", key_to="9"), ["8", "80", "8F"]),
        (Selection(key="K", after="X"), []),
    ],
)
def test_keys_the_server_may_send_pass(selection, keys):
    selection.check([{"K": key} for key in keys], "here")


def test_a_row_without_its_key_is_not_trusted():
    with pytest.raises(SourceUntrustworthy, match='without its key attribute "UID"'):
        Selection(key="UID").check([{"UID": None}], "here")


def test_a_slice_of_a_number_is_combined_with_cursor_and_key():
    scope = Scope("T", "Datum", date(2025, 4, 1), number_attribute="AbsNr", number_from=5000, number_to=10000)
    selection = selection_of(scope, "UID", "string")
    assert selection.filter() == Filter(
        "(((Datum >= :1) and (AbsNr >= :2)) and (AbsNr < :3))", ("2025-04-01", 5000, 10000)
    )
    assert not selection.is_everything
    assert not scope.is_whole_table


def test_rows_without_a_number_belong_to_the_first_slice():
    first = Selection(number="AbsNr", number_to=5000)
    assert first.filter() == Filter("((AbsNr < :1) or (AbsNr = null))", (5000,))
    first.check([{"AbsNr": None}, {"AbsNr": ""}, {"AbsNr": -3}, {"AbsNr": "4999"}, {}], "here")


def test_a_slice_from_zero_is_no_open_one():
    assert Selection(number="AbsNr", number_from=0).filter() == Filter("(AbsNr >= :1)", (0,))


@pytest.mark.parametrize("number", [4999, 10000, "4999", " 10000 ", 4999.5, None, "", "-1"])
def test_a_number_outside_the_slice_means_that_the_filter_was_ignored(number):
    rows = [{"AbsNr": 7000}, {"AbsNr": number}]
    with pytest.raises(SourceUntrustworthy, match="filter ignored"):
        Selection(number="AbsNr", number_from=5000, number_to=10000).check(rows, "here")


@pytest.mark.parametrize("number", [5000, 9999, "5000", " 9999 ", 7000.0, 9999.5])
def test_numbers_inside_the_slice_pass_in_any_spelling(number):
    Selection(number="AbsNr", number_from=5000, number_to=10000).check([{"AbsNr": number}], "here")


def test_a_number_that_is_none_is_named_and_its_row_used(caplog):
    Selection(number="AbsNr", number_from=5000).check([{"AbsNr": "B-77"}], "here")
    assert 'the value "B-77" of "AbsNr" is no number' in caplog.text


def test_an_empty_page_of_a_slice_passes():
    Selection(number="AbsNr", number_from=5000).check([], "here")


def test_a_scope_that_cannot_be_asked_for_is_refused():
    with pytest.raises(SourceRefused, match="bounds a number but names no attribute"):
        selection_of(Scope("T", number_from=1), "ID", "long")
    with pytest.raises(SourceRefused, match="names none"):
        selection_of(Scope("T", cursor_from=date(2025, 1, 1)), "ID", "long")
    with pytest.raises(SourceRefused, match="no single stored key"):
        selection_of(Scope("T", key_from="A"), None, "")
