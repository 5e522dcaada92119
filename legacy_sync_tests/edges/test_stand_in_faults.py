"""Does the stand-in misbehave when told to, only then, and the same way each time?"""

from collections.abc import Iterator

import pytest
import requests

from legacy_sync.demo.four_d_server import FAULTS, AttributeDef, FourDServer, Store, TableDef
from legacy_sync.demo.four_d_server.faults import parse_spec


@pytest.fixture
def server() -> Iterator[FourDServer]:
    store = Store()
    for name in ("Kunden", "Belege"):
        store.add_table(TableDef(name, (AttributeDef("ID", "long"), AttributeDef("Name")), key="ID"))
        store.load(name, [{"ID": n, "Name": f"{name} {n}"} for n in range(20)])
    with FourDServer(store, licences=500) as running:
        yield running


def _get(server: FourDServer, path: str = "Kunden", fault: str = "") -> requests.Response:
    return requests.get(f"{server.url}/rest/{path}", headers={"X-Fault": fault} if fault else {}, timeout=5)


def test_drop_cuts_the_connection_in_the_body(server: FourDServer) -> None:
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        _get(server, fault="drop")
    assert _get(server).json()["__COUNT"] == 20


def test_truncated_is_a_whole_answer_with_half_a_text(server: FourDServer) -> None:
    answer = _get(server, fault="truncated")
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_html_and_ok_come_with_status_200(server: FourDServer) -> None:
    assert _get(server, fault="html").text.startswith("<!DOCTYPE html>")
    assert _get(server, fault="ok").json() == {"ok": True}
    assert "__ENTITIES" not in _get(server, fault="no_entities").json()


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        ("error_array", "__ERROR"),
        ("error_string", "__ERROR"),
        ("error_plural", "__ERRORS"),
        ("error_errors", "errors"),
        ("error_success", "__ERROR"),
        ("error_status_text", "statusText"),
    ],
)
def test_errors_hide_behind_status_200(server: FourDServer, fault: str, key: str) -> None:
    answer = _get(server, fault=fault)
    assert answer.status_code == 200
    assert key in answer.json()
    assert "__ENTITIES" not in answer.json()


def test_error_may_sit_inside_an_entity(server: FourDServer) -> None:
    rows = _get(server, fault="error_in_entity").json()["__ENTITIES"]
    assert "__ERROR" in rows[0]
    assert len(rows) == 20


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors(server: FourDServer, status: int) -> None:
    assert _get(server, fault=f"http_{status}").status_code == status


def test_sessions_can_fail(server: FourDServer) -> None:
    assert _get(server, fault="session_limit").json()["__ERROR"][0]["errCode"] == 1823
    assert _get(server, fault="login_refused").json()["__ERROR"][0]["errCode"] == 1822
    with requests.Session() as http:
        first = http.get(f"{server.url}/rest/Kunden", timeout=5).cookies["WASID4D"]
        http.get(f"{server.url}/rest/Kunden", headers={"X-Fault": "session_expired"}, timeout=5)
        assert http.cookies["WASID4D"] != first


def test_entity_set_can_vanish_between_two_pages(server: FourDServer) -> None:
    path = _get(server, "Kunden?$method=entityset").json()["__ENTITYSET"].removeprefix("/rest/")
    assert _get(server, path).status_code == 200
    assert _get(server, path, fault="set_expired").json()["__ERROR"][0]["errCode"] == 1802


def test_filter_can_be_ignored(server: FourDServer) -> None:
    path = "Kunden?$filter='ID = 3'"
    assert _get(server, path).json()["__COUNT"] == 1
    assert _get(server, path, fault="ignore_filter").json()["__COUNT"] == 20


def test_pages_can_repeat_lack_rows_or_be_empty(server: FourDServer) -> None:
    first = _get(server, "Kunden?$orderby=ID&$top=5").json()
    assert _get(server, "Kunden?$orderby=ID&$top=5&$skip=5", fault="repeat_page").json() == first
    short = _get(server, "Kunden?$top=5", fault="short_page:missing=2").json()
    assert (short["__COUNT"], len(short["__ENTITIES"])) == (20, 3)
    empty = _get(server, fault="empty").json()
    assert (empty["__COUNT"], empty["__ENTITIES"]) == (0, [])


def test_counts_can_lie_and_columns_can_be_null(server: FourDServer) -> None:
    assert _get(server, fault="count_lies:delta=-3").json()["__COUNT"] == 17
    rows = _get(server, fault="null_column:attribute=Name").json()["__ENTITIES"]
    assert {row["Name"] for row in rows} == {None}
    assert _get(server, fault="hole").json()["__ENTITIES"][0] == {"__STAMP": 0}


def test_churn_changes_rows_between_pages(server: FourDServer) -> None:
    before = {row["ID"] for row in server.store.rows("Kunden")}
    _get(server, fault="churn")
    after = {row["ID"] for row in server.store.rows("Kunden")}
    assert len(after) == 20
    assert len(before - after) == len(after - before) == 1


def test_own_change_between_pages(server: FourDServer) -> None:
    server.on_data_request = lambda table, number: server.store.delete(table, str(number))
    counts = [_get(server).json()["__COUNT"] for _ in range(3)]
    assert counts == [19, 18, 17]


def test_slow_answer_runs_into_a_timeout(server: FourDServer) -> None:
    with pytest.raises(requests.Timeout):
        requests.get(f"{server.url}/rest/Kunden", headers={"X-Fault": "slow:seconds=5"}, timeout=0.1)


def test_fault_of_one_table_strikes_so_many_times(server: FourDServer) -> None:
    server.faults.add("http_503", table="Kunden", times=2, after=1)
    assert [_get(server).status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert _get(server, "Belege").status_code == 200
    assert server.faults.fired["http_503"] == 2


def test_random_faults_are_the_same_with_the_same_seed(server: FourDServer) -> None:
    def pattern() -> list[int]:
        server.faults.clear()
        server.faults.add("http_502", rate=0.5, seed=4)
        return [_get(server).status_code for _ in range(12)]

    first = pattern()
    assert first == pattern()
    assert set(first) == {200, 502}


def test_catalog_is_spared_unless_asked(server: FourDServer) -> None:
    server.faults.add("http_500")
    assert _get(server, "$catalog").status_code == 200
    server.faults.clear()
    server.faults.add("http_500", everywhere=True)
    assert _get(server, "$catalog").status_code == 500


def test_faults_can_be_written_in_one_line() -> None:
    first, second = parse_spec("drop:rate=0.05,seed=3; slow:seconds=2,table=Kunden,times=1")
    assert (first.name, first.rate, first.seed) == ("drop", 0.05, 3)
    assert (second.table, second.times, second.options) == ("Kunden", 1, {"seconds": "2"})


def test_unknown_fault_is_named(server: FourDServer) -> None:
    with pytest.raises(ValueError, match='no fault is called "drip"'):
        server.faults.add("drip")
    assert _get(server, fault="drip").status_code == 400


def test_every_fault_can_strike_without_breaking_the_server(server: FourDServer) -> None:
    for fault in FAULTS.keys() - {"drop", "slow"}:
        assert _get(server, fault=fault).status_code in {200, 401, 402, 500, 502, 503, 504}
    assert _get(server).json()["__COUNT"] == 20


def test_counters_and_log_tell_what_was_asked(server: FourDServer) -> None:
    server.faults.add("http_503", times=1)
    _get(server, "Kunden?$filter='ID = 3'&$top=5")
    _get(server, "Kunden?$filter='ID = 3'&$top=5")
    assert server.counters.requests["Kunden"] == 2
    assert server.counters.statuses == {503: 1, 200: 1}
    assert server.log[-1].query == {"$filter": "ID = 3", "$top": "5"}
    assert server.log[0].faults == ("http_503",)


def test_admin_desk_switches_faults_changes_rows_and_counts(server: FourDServer) -> None:
    desk = f"{server.url}/__admin"
    requests.post(f"{desk}/faults", json={"fault": "html", "times": 1}, timeout=5)
    assert _get(server).text.startswith("<!DOCTYPE")
    rows = {"table": "Kunden", "insert": [{"Name": "neu"}], "update": {"1": {"Name": "x"}}, "delete": ["2"]}
    assert requests.post(f"{desk}/rows", json=rows, timeout=5).json() == {"inserted": ["20"], "rows": 20}
    assert requests.get(f"{desk}/counters", timeout=5).json()["requests"] == {"Kunden": 1}
    assert requests.delete(f"{desk}/faults", timeout=5).json() == []


def test_admin_desk_moves_clock_sessions_and_tracking(server: FourDServer) -> None:
    desk = f"{server.url}/__admin"
    moment = "2025-03-06T04:13:17+00:00"
    assert requests.post(f"{desk}/clock", json={"freeze": moment}, timeout=5).json() == {"now": moment}
    limited = requests.post(f"{desk}/sessions", json={"expire": True, "licences": 0}, timeout=5).json()
    assert limited["licences"] == 0
    assert _get(server).status_code == 402
    tracked = requests.post(f"{desk}/tracking", json={"table": "Kunden", "global_stamp": 17}, timeout=5)
    assert tracked.json() == {"global_stamp": 17}


def test_admin_desk_explains_what_it_cannot_do(server: FourDServer) -> None:
    answer = requests.post(f"{server.url}/__admin/rows", json={"table": "Kundn"}, timeout=5)
    assert answer.status_code == 400
    assert "Kundn" in answer.json()["error"]
    assert "POST /__admin/faults" in requests.get(f"{server.url}/__admin/help", timeout=5).json()
