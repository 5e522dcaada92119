"""Does the 4D client survive, or refuse, every bad answer the real server is known to give?"""

import threading

import pytest
from four_d_setup import build_store, keys_of, kunde, read_all, source_of, uid

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.errors import (
    SessionLimitReached,
    SourceRefused,
    SourceUnavailable,
    SourceUntrustworthy,
)
from legacy_sync.mapping.retry import Retry
from legacy_sync.sources.base import Scope
from legacy_sync.sources.four_d.paging import Progress

PASSING = [
    "drop",
    "truncated",
    "html",
    "ok",
    "no_entities",
    "error_array",
    "error_string",
    "error_plural",
    "error_errors",
    "error_success",
    "error_status_text",
    "error_in_entity",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "repeat_page",
    "short_page",
    "empty",
]
UNAVAILABLE = {"drop", "truncated", "html", *(name for name in PASSING if name.startswith(("error_", "http_")))}


@pytest.fixture
def server():
    with FourDServer(build_store(), licences=2) as running:
        yield running


@pytest.mark.parametrize("fault", [name for name in PASSING if name != "empty"])
def test_a_passing_fault_in_the_second_page_costs_a_request_and_no_row(server, fault):
    server.faults.add(fault, table="Kunden", times=1, after=1)
    rows, fetch = read_all(source_of(server))
    assert keys_of(rows) == [uid(n) for n in range(1, 26)]
    assert server.faults.fired[fault] == 1
    assert fetch.report.complete


@pytest.mark.parametrize("fault", PASSING)
def test_a_lasting_fault_ends_the_fetch_and_never_looks_like_the_end_of_the_table(server, fault):
    server.faults.add(fault, table="Kunden", after=1)
    expected = SourceUnavailable if fault in UNAVAILABLE - {"error_in_entity"} else SourceUntrustworthy
    fetch = source_of(server).fetch(Scope("Kunden", page_size=10))
    with pytest.raises(expected) as caught:
        list(fetch)
    assert caught.value.what
    assert caught.value.next_step
    assert 'table "Kunden"' in caught.value.where
    with pytest.raises(RuntimeError, match="only after all"):
        _ = fetch.report


def test_a_first_page_that_is_empty_by_mistake_is_not_taken_for_an_empty_table(server):
    server.faults.add("empty", table="Kunden", times=1)
    with pytest.raises(SourceUntrustworthy, match="25 are there now"):
        read_all(source_of(server))


def test_an_ignored_key_filter_is_noticed(server):
    server.faults.add("ignore_filter", table="Kunden")
    with pytest.raises(SourceUntrustworthy, match="filter ignored"):
        read_all(source_of(server))


def test_an_ignored_window_is_noticed_in_the_first_page(server, day):
    server.faults.add("ignore_filter", table="Kunden")
    with pytest.raises(SourceUntrustworthy, match="filter ignored: a row has modified_date"):
        read_all(source_of(server), cursor="modified_date", cursor_from=day("2025-04-01"))


@pytest.mark.parametrize("delta", [1, -1, 1000])
def test_a_count_that_lies_is_noticed(server, delta):
    server.faults.add("count_lies", table="Kunden", delta=delta)
    with pytest.raises(SourceUntrustworthy, match="rows"):
        read_all(source_of(server))


def test_a_count_that_calls_a_full_page_the_last_one_is_not_believed(server):
    server.faults.add("count_lies", table="Kunden", delta=-15, times=1)
    rows, fetch = read_all(source_of(server))
    assert len(rows) == 25
    assert fetch.report.complete


def test_rows_that_work_goes_on_with_are_neither_lost_nor_doubled(server):
    changed = []

    def clerk(table: str, number: int) -> None:
        server.store.update(table, uid(number), {"Name": "geändert"})
        server.store.delete(table, uid(25 - number))
        changed.append(server.store.insert(table, kunde(100 + number)))

    server.on_data_request = clerk
    rows, fetch = read_all(source_of(server), page_size=5)
    keys = keys_of(rows)
    assert len(set(keys)) == len(keys)
    untouched = {uid(n) for n in range(1, 26)} & set(server.store.tables["Kunden"].position)
    assert untouched <= set(keys)
    assert fetch.report.complete


def test_churn_before_every_page_loses_no_row_that_stays(server):
    before = set(server.store.tables["Kunden"].position)
    server.faults.add("churn", table="Kunden")
    rows, _ = read_all(source_of(server), page_size=5)
    assert before & set(server.store.tables["Kunden"].position) <= set(keys_of(rows))
    assert len(set(keys_of(rows))) == len(rows)


def test_holes_are_dropped_and_counted(server):
    server.faults.add("hole", table="Kunden", times=1, after=1)
    rows, fetch = read_all(source_of(server))
    assert len(rows) == 24
    assert any("1 rows were deleted" in note for note in fetch.report.notes)
    assert fetch.report.rows == 24


def test_a_session_that_ends_between_pages_is_replaced_silently(server):
    server.faults.add("session_expired", table="Kunden", times=1, after=1)
    rows, fetch = read_all(source_of(server))
    assert len(rows) == 25
    assert server.sessions.opened == 2
    assert any("replaced the session" in note for note in fetch.report.notes)


def test_without_a_licence_the_same_page_is_asked_for_again(server):
    server.faults.add("session_limit", table="Kunden", times=4, after=1)
    rows, fetch = read_all(source_of(server))
    assert len(rows) == 25
    assert fetch.report.complete
    assert server.counters.statuses[402] == 4


def test_without_a_licence_for_too_long_the_fetch_gives_up_and_says_so(server):
    server.faults.add("session_limit", table="Kunden", after=1)
    with pytest.raises(SessionLimitReached, match="no session is free"):
        read_all(source_of(server, session_wait_seconds=0.1))
    assert server.counters.statuses[402] < 15


def test_closing_a_fetch_that_waits_for_a_licence_does_not_wait(server):
    server.faults.add("session_limit", table="Kunden", after=1)
    batches = iter(
        source_of(server, session_pause_seconds=60, session_wait_seconds=600).fetch(Scope("Kunden", page_size=5))
    )
    next(batches)
    batches.close()
    assert [t.name for t in threading.enumerate() if "four_d" in t.name] == []


def test_a_waiting_client_goes_on_when_another_session_ends(server):
    for _ in range(2):
        server.sessions.enter({})
    server.faults.add("slow", seconds=0, everywhere=True)
    source = source_of(server, session_wait_seconds=20)
    threading.Timer(0.05, server.sessions.expire_all).start()
    assert len(read_all(source)[0]) == 25
    assert server.counters.statuses[402] >= 1


def test_a_refused_session_is_opened_anew_once_and_then_reported(server):
    source = source_of(server)
    server.faults.add("login_refused", table="Kunden", times=1)
    assert len(read_all(source)[0]) == 25
    server.faults.add("login_refused", table="Kunden")
    asked = server.counters.statuses[401]
    with pytest.raises(SourceRefused, match="refuses the login") as caught:
        read_all(source)
    assert server.counters.statuses[401] - asked == 2
    assert "LEGACY_API_USER" in caught.value.next_step


def test_a_server_that_is_down_is_unavailable(server):
    source = source_of(server)
    server.stop()
    with pytest.raises(SourceUnavailable, match="connection failed"):
        source.describe()


def test_a_server_that_stays_silent_is_unavailable(server):
    server.faults.add("slow", table="Kunden", seconds=3)
    with pytest.raises(SourceUnavailable, match="silent"):
        read_all(source_of(server, timeout_seconds=0.05, retry=Retry(attempts=2)))


def test_a_column_that_turns_null_is_delivered_as_null_for_the_guards_to_judge(server):
    server.faults.add("null_column", table="Kunden", attribute="Name")
    rows, _ = read_all(source_of(server))
    assert {row["Name"] for row in rows} == {None}


def test_a_fetch_that_waits_for_a_licence_ends_when_nobody_wants_its_rows(server):
    server.sessions.licences = 0
    source = source_of(server, session_pause_seconds=60, session_wait_seconds=600)
    stop, ended = threading.Event(), []

    def begin():
        with pytest.raises(SessionLimitReached):
            source.open_pages(Scope("Kunden"), Progress(), stop)
        ended.append(True)

    reader = threading.Thread(target=begin, daemon=True)
    reader.start()
    reader.join(0.5)
    assert not ended
    stop.set()
    reader.join(10)
    assert ended
