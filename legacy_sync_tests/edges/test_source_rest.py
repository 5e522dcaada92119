"""Can any list of a web service be described in YAML: how it is asked, paged and turned into rows?"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from rest_setup import Answered, WebService, in_turn
from source_setup import read_all

from legacy_sync.errors import SettingsInvalid, SourceRefused
from legacy_sync.sources.base import ABSENT, KEY

ROWS = [{"id": n, "name": f"Name {n}"} for n in range(1, 8)]


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


# --- rows --------------------------------------------------------------------------------------


def test_a_plain_list_becomes_rows_with_a_key():
    with WebService(lambda _: ROWS[:2]) as service:
        rows, fetch = read_all(service.source({"key": "id"}), "t")
    assert rows == [{KEY: "1", "id": 1, "name": "Name 1"}, {KEY: "2", "id": 2, "name": "Name 2"}]
    assert (service.log[0].method, service.log[0].path) == ("GET", "/api/rows")
    report = fetch.report
    assert (report.rows, report.requests, report.complete) == (2, 1, True)
    assert abs(report.server_time - datetime.now(UTC)) < timedelta(seconds=5)


def test_rows_lie_deep_inside_and_take_values_from_beside_them():
    body = {"meta": {"as_of": "2025-04-01"}, "data": {"items": [{"id": 1}, {"id": 2, "as_of": "today"}]}}
    table = {"records": "data.items", "keep": {"as_of": "meta.as_of"}}
    with WebService(lambda _: body) as service:
        assert read_all(service.source(table), "t")[0] == [
            {"as_of": "2025-04-01", "id": 1},
            {"as_of": "today", "id": 2},
        ]


def test_nested_objects_become_rows_by_the_names_of_their_keys():
    body = {"base": "EUR", "rates": {"2025-04-01": {"USD": 1.08, "JPY": 161}, "2025-04-02": {"USD": 1.09}}}
    table = {
        "records": "rates",
        "pairs": ["date", "target", "rate"],
        "keep": ["base"],
        "key": ["base", "target", "date"],
    }
    with WebService(lambda _: body) as service:
        rows, _ = read_all(service.source(table), "t")
    assert rows[0] == {KEY: "EUR|USD|2025-04-01", "base": "EUR", "date": "2025-04-01", "target": "USD", "rate": 1.08}
    assert [(row["date"], row["target"], row["rate"]) for row in rows[1:]] == [
        ("2025-04-01", "JPY", 161),
        ("2025-04-02", "USD", 1.09),
    ]


def test_values_inside_of_objects_have_dotted_names():
    body = [{"file": {"id": 12, "type": "photo"}}, {"file": {}}]
    table = {"columns": ["file.id", "file"], "key": "file.id"}
    with WebService(lambda _: body) as service:
        rows, _ = read_all(service.source(table), "t")
    assert [(row[KEY], row["file.id"], row["file"]) for row in rows] == [
        ("12", 12, '{"id":12,"type":"photo"}'),
        (None, None, "{}"),
    ]
    assert rows[1][ABSENT] == "file.id"


def test_a_column_nobody_carries_is_told(caplog):
    with WebService(lambda _: ROWS) as service:
        read_all(service.source({"columns": ["id", "iban"]}), "t")
    assert "no row of t carried iban" in caplog.text


def test_the_catalog_is_what_is_declared_or_else_what_some_rows_have():
    with WebService(lambda _: ROWS) as service:
        declared = service.source({"columns": {"id": "long"}, "key": "id"}).describe()["t"]
        assert (declared.names, declared.key, service.log) == (("id", KEY), ("id",), [])
        source = service.source()
        assert [(a.name, a.type) for a in source.describe()["t"].attributes] == [("id", "long"), ("name", "string")]
        source.describe()
    assert len(service.log) == 1


# --- asking ------------------------------------------------------------------------------------


def test_a_post_reads_with_a_body_as_json_or_as_a_form():
    with WebService(lambda _: ROWS) as service:
        read_all(service.source({"method": "POST", "body": {"list": "inbound"}}), "t")
        read_all(service.source({"method": "POST", "body": {"list": "inbound"}, "body_format": "form"}), "t")
    assert [asked.method for asked in service.log] == ["POST", "POST"]
    assert (service.log[0].json, service.log[1].body) == ({"list": "inbound"}, "list=inbound")


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "basic", "user": "me", "password": "ü:x"}, "Authorization", "Basic bWU6w7w6eA=="),
        ({"type": "bearer", "token": "t0"}, "Authorization", "Bearer t0"),
        ({"type": "header", "name": "X-Api-Key", "value": "k1"}, "X-Api-Key", "k1"),
    ],
)
def test_who_we_are_stands_in_a_header(auth, header, value):
    with WebService(lambda _: ROWS) as service:
        read_all(service.source(auth=auth, headers={"Accept-Language": "de"}), "t")
    assert service.log[0].headers[header] == value
    assert service.log[0].headers["Accept-Language"] == "de"


def test_who_we_are_stands_in_the_body_or_the_address_and_several_ways_go_together():
    auth = [
        {"type": "basic", "user": "me", "password": "x"},
        {"type": "body", "name": "api_key", "value": "k1"},
        {"type": "query", "name": "key", "value": "k2"},
    ]
    with WebService(lambda _: ROWS) as service:
        read_all(service.source({"method": "POST", "body": {"a": 1}}, auth=auth), "t")
    (asked,) = service.log
    assert (asked.json, asked.params) == ({"a": 1, "api_key": "k1"}, {"key": "k2"})
    assert asked.headers["Authorization"].startswith("Basic ")


def test_a_login_without_a_value_is_named_before_anything_is_asked():
    auth = {"type": "basic", "user": "me", "password": ""}
    with WebService(lambda _: ROWS) as service:
        source = service.source(auth=auth, variables={"auth.password": "BOOKKEEPING_PASSWORD"})
        with pytest.raises(SettingsInvalid, match='has no "password" to log in with') as caught:
            read_all(source, "t")
    assert caught.value.next_step.startswith("set the environment variable BOOKKEEPING_PASSWORD")
    assert service.log == []


def test_days_of_the_scope_go_into_path_parameters_and_body():
    table = {
        "path": "{cursor_from}..{cursor_last}",
        "params": {"until": "{cursor_last}"},
        "cursor_from": "2025-04-01",
    }
    days = [{"day": f"2025-04-0{n}"} for n in range(1, 7)]
    with WebService(lambda _: days) as service:
        source = service.source(table)
        april = {"cursor": "day", "cursor_from": date(2025, 4, 2), "cursor_to": date(2025, 4, 5)}
        rows, fetch = read_all(source, "t", **april)
        read_all(source, "t")
    assert [row["day"] for row in rows] == ["2025-04-02", "2025-04-03", "2025-04-04"]
    assert (service.log[0].path, service.log[0].params) == ("/api/2025-04-02..2025-04-04", {"until": "2025-04-04"})
    assert service.log[1].path == f"/api/2025-04-01..{datetime.now(UTC).date()}"
    assert (fetch.report.rows, fetch.report.complete) == (3, True)


def test_requests_keep_the_pace_that_is_said():
    with WebService(
        lambda asked: [] if int(asked.params["offset"]) > 2 else ROWS[int(asked.params["offset"]) :][:1]
    ) as service:
        table = {"paging": {"type": "offset"}, "page_size": 1}
        _, fetch = read_all(service.source(table, pause_seconds=0.05), "t")
        assert fetch.report.requests == 4
        assert fetch.report.seconds >= 0.15


def test_more_requests_than_allowed_in_a_minute_wait():
    from legacy_sync.sources.rest.client import Pacing

    pacing, slept = Pacing(per_minute=2, pause_seconds=0), []
    for _ in range(3):
        pacing.wait(slept.append)
    assert len(slept) == 1
    assert 59 < slept[0] <= 60


# --- paging ------------------------------------------------------------------------------------


def pages_by_number(asked: Any) -> Any:
    page, size = int(asked.params["page"]), int(asked.params["page_size"])
    return {"count": len(ROWS), "results": ROWS[(page - 1) * size : page * size]}


def pages_by_offset(asked: Any) -> Any:
    start, size = int(asked.params["offset"]), int(asked.params["limit"])
    return {"results": ROWS[start : start + min(size, 2)]}


def pages_by_body_link(asked: Any) -> Any:
    start = int(asked.params.get("start", 0))
    following = f"rows?start={start + 3}" if start + 3 < len(ROWS) else None
    return {"results": ROWS[start : start + 3], "next": following}


def pages_by_header_link(asked: Any) -> Any:
    start = int(asked.params.get("start", 0))
    link = {"Link": f'</api/rows?start={start + 3}>; rel="next"'} if start + 3 < len(ROWS) else {}
    return Answered({"results": ROWS[start : start + 3]}, headers=link)


def pages_by_token(asked: Any) -> Any:
    start = int(asked.params.get("after", "t0").removeprefix("t"))
    following = {"cursor": f"t{start + 3}"} if start + 3 < len(ROWS) else {}
    return {"results": ROWS[start : start + 3], "meta": following}


PAGING = {
    "page": (pages_by_number, {"paging": {"type": "page"}, "total": "count"}, 3),
    "page without total": (pages_by_number, {"paging": {"type": "page"}}, 4),
    "offset, fewer rows than asked": (pages_by_offset, {"paging": {"type": "offset"}}, 5),
    "link in the body": (pages_by_body_link, {"paging": {"type": "link", "path": "next"}}, 3),
    "link in the header": (pages_by_header_link, {"paging": {"type": "link"}}, 3),
    "token": (pages_by_token, {"paging": {"type": "token", "parameter": "after", "path": "meta.cursor"}}, 3),
}


@pytest.mark.parametrize("way", PAGING)
def test_every_way_of_paging_reads_every_row_once(way):
    answer, table, requests = PAGING[way]
    with WebService(answer) as service:
        rows, fetch = read_all(service.source({"records": "results", "page_size": 3, **table}), "t")
    assert ids(rows) == ids(ROWS)
    assert fetch.report.requests == requests
    assert fetch.report.complete == ("total" in table), "without a total nobody is missing for sure"
    assert fetch.total == (7 if "total" in table else None)


def test_long_spans_are_asked_for_some_days_at_a_time():
    def answer(asked: Any) -> Any:
        begin, last = map(date.fromisoformat, asked.path.rsplit("/", 1)[-1].split(".."))
        count = (last - begin).days + 1
        return [{"day": (begin + timedelta(days=n)).isoformat()} for n in range(count)] if count <= 10 else []

    first = datetime.now(UTC).date() - timedelta(days=24)
    table = {"path": "{cursor_from}..{cursor_last}", "paging": {"type": "days", "size": 10}, "cursor_from": first}
    with WebService(answer) as service:
        rows, fetch = read_all(service.source(table), "t")
        some = {"cursor": "day", "cursor_from": first + timedelta(days=5), "cursor_to": first + timedelta(days=7)}
        assert len(read_all(service.source(table), "t", **some)[0]) == 2
    assert [row["day"] for row in rows] == [(first + timedelta(days=n)).isoformat() for n in range(25)]
    assert (fetch.report.requests, fetch.report.complete) == (3, True)
    assert len(service.log) == 4


def test_paging_of_a_post_stands_in_its_body():
    def answer(asked: Any) -> Any:
        start, size = asked.json["offset"], asked.json["limit"]
        return {"data": ROWS[start : start + size]}

    table = {"method": "POST", "records": "data", "paging": {"type": "offset"}, "page_size": 5}
    with WebService(answer) as service:
        assert ids(read_all(service.source(table), "t")[0]) == ids(ROWS)
    assert [asked.json for asked in service.log] == [{"offset": n, "limit": 5} for n in (0, 5, 7)]


def test_pages_are_as_small_as_the_mapping_or_the_service_wants():
    with WebService(pages_by_number) as service:
        table = {"records": "results", "paging": {"type": "page"}, "page_size": 5, "total": "count"}
        read_all(service.source(table), "t", page_size=2)
        read_all(service.source(table), "t", page_size=1000)
    assert {asked.params["page_size"] for asked in service.log} == {"2", "5"}


def test_a_list_in_one_page_is_complete_even_if_nobody_counts():
    with WebService(lambda asked: {"results": ROWS[:2] if asked.params["offset"] == "0" else []}) as service:
        _, fetch = read_all(service.source({"records": "results", "paging": {"type": "offset"}}), "t")
    assert fetch.report.complete


# --- probe and keys ----------------------------------------------------------------------------


def test_a_probe_is_one_request():
    with WebService(pages_by_number) as service:
        table = {"records": "results", "paging": {"type": "page"}, "total": "count"}
        assert service.source(table).probe("t", None, None).count == 7
        assert service.source({**table, "total": None}).probe("t", None, None).count == 1
    assert [asked.params["page_size"] for asked in service.log] == ["1", "1"]
    with WebService(lambda _: [{"day": "2025-04-01"}, {"day": "2025-04-03"}]) as service:
        seen = service.source().probe("t", "day", date(2025, 4, 2))
    assert (seen.count, seen.newest) == (1, date(2025, 4, 3))


def test_keys_come_page_by_page_and_a_table_without_one_says_so():
    with WebService(pages_by_number) as service:
        table = {"records": "results", "paging": {"type": "page"}, "total": "count", "page_size": 4}
        assert list(service.source({**table, "key": "id"}).fetch_keys("t")) == [("1", "2", "3", "4"), ("5", "6", "7")]
        with pytest.raises(SourceRefused, match="has no key"):
            list(service.source(table).fetch_keys("t"))


def test_an_unknown_table_is_refused_with_the_closest_name():
    with WebService(in_turn([])) as service, pytest.raises(SourceRefused, match='no table "tt"'):
        read_all(service.source(), "tt")


# --- words that cannot be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"path": "http://elsewhere/rows"}, "is no path behind the url"),
        ({"path": "/rows"}, "is no path behind the url"),
        ({"path": "../admin"}, "is no path behind the url"),
        ({"path": "rows?all=1"}, "is no path behind the url"),
        ({"body": {"a": 1}}, "a GET has no body"),
        ({"path": "{cursor_from}"}, "write `cursor_from`"),
        ({"paging": {"type": "days", "size": 90}}, "write `cursor_from`"),
        ({"method": "DELETE"}, "Input should be 'GET' or 'POST'"),
    ],
)
def test_requests_that_must_not_be_are_no_words(table, what):
    with WebService(in_turn([])) as service, pytest.raises(ValidationError, match=what):
        service.source(table)


@pytest.mark.parametrize(
    ("url", "what"),
    [("", "has no address"), ("ftp://host", "is no address"), ("https://u:p@host/api", "holds a login")],
)
def test_an_address_that_cannot_be_is_a_wrong_setting(url, what):
    with WebService(in_turn([])) as service, pytest.raises(SettingsInvalid, match=what) as caught:
        service.source(url=url)
    assert "u:p" not in str(caught.value)
