"""Is a bad answer of a web service asked again or refused, and never taken for an empty table?"""

from typing import Any

import pytest
from rest_setup import Answered, WebService, in_turn
from source_setup import read_all

from legacy_sync.errors import LegacySyncError, SourceRefused, SourceUnavailable, SourceUntrustworthy
from legacy_sync.sources.base import Scope

GOOD = {"success": True, "count": 4, "data": [{"id": 1}, {"id": 2}]}
MORE = {"success": True, "count": 4, "data": [{"id": 3}, {"id": 4}]}
TABLE = {
    "records": "data",
    "success": {"success": True},
    "paging": {"type": "offset"},
    "page_size": 2,
    "total": "count",
    "key": "id",
}
FAULTS: dict[str, tuple[Any, type[LegacySyncError], str]] = {
    "html": (Answered(b"<html>Wartung</html>", headers={"Content-Type": "text/html"}), SourceUnavailable, "no JSON"),
    "nothing": (Answered(b""), SourceUnavailable, "no JSON but 0 bytes"),
    "cut off": (Answered(b'{"data": [', announced=500), SourceUnavailable, "did not answer completely"),
    "half json": (Answered(b'{"success": true, "data": ['), SourceUnavailable, "no JSON"),
    "silence": (Answered(GOOD, wait=3), SourceUnavailable, "stayed silent"),
    "500": (Answered({"message": "oops"}, 500), SourceUnavailable, 'HTTP 500 Internal Server Error: "oops"'),
    "503": (Answered(b"busy", 503), SourceUnavailable, "HTTP 503"),
    "429": (Answered({}, 429, {"Retry-After": "0"}), SourceUnavailable, "HTTP 429"),
    "error with 200": ({"success": False, "message": "limit reached"}, SourceUntrustworthy, 'error: "limit reached"'),
    "other object": ({"success": True, "count": 4}, SourceUntrustworthy, 'no list of rows at "data", but nothing'),
    "list of lists": ({**MORE, "data": [[1]]}, SourceUntrustworthy, "is no object"),
    "no total": ({**MORE, "count": None}, SourceUntrustworthy, 'no number of all rows at "count"'),
    "same page": (GOOD, SourceUntrustworthy, "a second time"),
}


def fetch_all(service: WebService, **words: Any) -> tuple[list[dict[str, Any]], Any]:
    return read_all(service.source(TABLE, **words), "t")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_in_the_second_page_costs_a_request_and_no_row(fault):
    with WebService(in_turn(GOOD, FAULTS[fault][0], MORE)) as service:
        rows, fetch = fetch_all(service, timeout_seconds=0.3)
    assert [row["id"] for row in rows] == [1, 2, 3, 4]
    assert (fetch.report.requests, fetch.report.complete) == (3, True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_ends_the_fetch_and_never_looks_like_the_end_of_the_list(fault):
    answer, kind, what = FAULTS[fault]
    with WebService(in_turn(GOOD, answer)) as service:
        fetch = service.source(TABLE, timeout_seconds=0.3).fetch(Scope("t"))
        with pytest.raises(kind) as caught:
            list(fetch)
    assert what in caught.value.what
    assert 'table "t", after 2 rows' in caught.value.where
    assert caught.value.next_step
    assert len(service.log) == 1 + 3, "one good page, then three tries"
    with pytest.raises(RuntimeError, match="only after all"):
        _ = fetch.report


def test_a_page_that_is_empty_before_the_announced_end_is_no_end():
    with (
        WebService(in_turn(GOOD, {**MORE, "data": []})) as service,
        pytest.raises(SourceUntrustworthy, match="announced 4 rows, but sent 2"),
    ):
        fetch_all(service)


def test_more_rows_than_announced_are_not_believed():
    with (
        WebService(in_turn(GOOD, {**MORE, "data": [{"id": 3}, {"id": 4}, {"id": 5}]})) as service,
        pytest.raises(SourceUntrustworthy, match="announced 4 rows, but sent 5"),
    ):
        fetch_all(service)


def test_a_list_that_changes_while_it_is_read_is_read_again_later():
    with (
        WebService(in_turn(GOOD, {**MORE, "count": 5})) as service,
        pytest.raises(SourceUnavailable, match="grew or shrank from 4 to 5 rows"),
    ):
        fetch_all(service)


@pytest.mark.parametrize(
    ("status", "next_step"),
    [(400, "compare mappings/sources/example.yaml"), (401, "check API_KEY"), (403, "check API_KEY"), (404, "compare")],
)
def test_a_refusal_is_not_asked_again(status, next_step):
    auth = {"type": "header", "name": "X-Api-Key", "value": "k1"}
    with (
        WebService(lambda _: Answered({"error": {"message": "no"}}, status)) as service,
        pytest.raises(SourceRefused, match=f'HTTP {status} .*: "no"') as caught,
    ):
        fetch_all(service, auth=auth, variables={"auth.value": "API_KEY"})
    assert next_step in caught.value.next_step
    assert len(service.log) == 1


def test_a_redirect_is_not_followed_with_our_login():
    with (
        WebService(lambda _: Answered(b"", 302, {"Location": "https://elsewhere.example/rows"})) as service,
        pytest.raises(SourceRefused, match=r"HTTP 302 Found, to elsewhere\.example"),
    ):
        fetch_all(service)
    assert len(service.log) == 1


def test_the_next_page_of_another_server_gets_no_login_of_ours():
    table = {"records": "data", "paging": {"type": "link", "path": "next"}}
    with (
        WebService(lambda _: {**GOOD, "next": "https://elsewhere.example/rows?page=2"}) as service,
        pytest.raises(SourceRefused, match=r'another server, "elsewhere\.example"'),
    ):
        read_all(service.source(table), "t")


def test_a_service_that_asks_for_a_pause_gets_it():
    with WebService(in_turn(Answered({}, 429, {"Retry-After": "0.2"}), {**GOOD, "count": 2})) as service:
        _, fetch = fetch_all(service)
    assert fetch.report.seconds >= 0.2


def test_no_secret_stands_in_a_message_even_if_the_service_repeats_it():
    auth = [
        {"type": "basic", "user": "importer", "password": "ge:heim"},
        {"type": "query", "name": "key", "value": "k-0815"},
    ]
    with WebService(lambda asked: Answered({"message": f"wrong key {asked.params['key']} or ge:heim"}, 400)) as service:
        source = service.source(TABLE, auth=auth)
        with pytest.raises(SourceRefused) as caught:
            read_all(source, "t")
    assert "wrong key *** or ***" in caught.value.what
    shown = f"{caught.value!s} {source!r} {source._words!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert not {secret for secret in ("ge:heim", "k-0815", "importer") if secret in shown}


def test_a_connection_that_fails_names_no_address_with_a_key():
    auth = {"type": "query", "name": "key", "value": "k-0815"}
    with WebService(in_turn([])) as service:
        source = service.source(TABLE, auth=auth, retry={"attempts": 1})
    with pytest.raises(SourceUnavailable, match="the connection failed or broke") as caught:
        read_all(source, "t")
    assert "k-0815" not in str(caught.value)


@pytest.mark.parametrize("found", [[1], "text", None, {"USD": 1}])
def test_pairs_that_are_none_are_not_believed(found):
    table = {"records": "rates", "pairs": ["day", "code", "rate"]}
    with WebService(lambda _: {"rates": found}) as service, pytest.raises(SourceUntrustworthy, match="no object"):
        read_all(service.source(table), "t")
