"""Does the stand-in hand out sessions, licences and refusals as a real 4D server does?"""

from collections.abc import Iterator

import pytest
import requests

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef

USERS = {"importer": "geheim"}


@pytest.fixture
def db() -> Store:
    store = Store()
    store.add_table(TableDef("Kunden", (AttributeDef("ID", "long"), AttributeDef("Name")), key="ID"))
    store.load("Kunden", [{"ID": n, "Name": f"Kunde {n}"} for n in range(5)])
    return store


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def _code(answer: requests.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["__ERROR"][-1]["errCode"]


def test_one_cookie_jar_is_one_session(db: Store, http: requests.Session) -> None:
    with FourDServer(db) as server:
        for _ in range(3):
            http.get(f"{server.url}/rest/Kunden", timeout=5)
        assert (server.sessions.opened, server.sessions.licences_used) == (1, 1)
        for _ in range(3):
            requests.get(f"{server.url}/rest/$info", timeout=5)
        assert server.sessions.licences_used == 4


def test_both_cookies_are_sent_each_time(db: Store, http: requests.Session) -> None:
    with FourDServer(db) as server:
        for _ in range(2):
            answer = http.get(f"{server.url}/rest/$catalog", timeout=5)
            cookies = answer.raw.headers.getlist("Set-Cookie")
            assert cookies[0].startswith("WASID4D=")
            assert cookies[0].endswith("; Path=/; Max-Age=3600; HttpOnly; Version=1")
            assert cookies[1].startswith("4DSID_Standin=")
            assert answer.headers["4DREST-INFO"] == "1.1"


def test_unknown_cookie_silently_opens_another_session(db: Store, http: requests.Session) -> None:
    with FourDServer(db) as server:
        http.get(f"{server.url}/rest/Kunden", timeout=5)
        before = http.cookies["WASID4D"]
        server.sessions.expire_all()
        answer = http.get(f"{server.url}/rest/Kunden", timeout=5)
        assert answer.status_code == 200
        assert http.cookies["WASID4D"] != before


def test_two_cookies_of_one_name_match_no_session(db: Store) -> None:
    with FourDServer(db) as server:
        first = requests.get(f"{server.url}/rest/Kunden", timeout=5).cookies["WASID4D"]
        doubled = {"Cookie": f"WASID4D={first}; WASID4D={first}"}
        again = requests.get(f"{server.url}/rest/Kunden", headers=doubled, timeout=5)
        assert again.cookies["WASID4D"] != first


def test_session_ends_after_an_hour_without_requests(db: Store, http: requests.Session) -> None:
    with FourDServer(db) as server:
        for minutes in (50, 50, 70):
            http.get(f"{server.url}/rest/Kunden", timeout=5)
            db.clock.advance(minutes=minutes)
        http.get(f"{server.url}/rest/Kunden", timeout=5)
        assert server.sessions.opened == 2


def test_no_licence_left_is_402(db: Store, http: requests.Session) -> None:
    with FourDServer(db, licences=1) as server:
        http.get(f"{server.url}/rest/Kunden", timeout=5)
        assert _code(requests.get(f"{server.url}/rest/Kunden", timeout=5)) == (402, 1823)
        assert http.get(f"{server.url}/rest/Kunden", timeout=5).status_code == 200
        db.clock.advance(hours=2)
        assert requests.get(f"{server.url}/rest/Kunden", timeout=5).status_code == 200


def test_wrong_credentials_are_401(db: Store) -> None:
    with FourDServer(db, login="headers", users=USERS) as server:
        answer = requests.get(f"{server.url}/rest/Kunden", timeout=5)
        assert _code(answer) == (401, 1822)
        assert answer.headers["4D-CREDENTIALS"] == "1.0"
        assert answer.headers["www-authenticate"] == ""
        assert server.sessions.licences_used == 0


def test_credentials_work_on_any_request_and_on_login(db: Store, http: requests.Session) -> None:
    headers = {"username-4D": "importer", "password-4D": "geheim", "session-4D-length": "90"}
    with FourDServer(db, login="headers", users=USERS) as server:
        assert requests.get(f"{server.url}/rest/Kunden", headers=headers, timeout=5).status_code == 200
        login = http.post(f"{server.url}/rest/$directory/login", headers=headers, timeout=5)
        assert login.json() == {"result": True}
        assert "Max-Age=5400" in login.headers["Set-Cookie"]
        assert http.get(f"{server.url}/rest/Kunden", timeout=5).status_code == 200
        assert server.sessions.licences_used == 2


@pytest.mark.parametrize(("version", "status"), [("v20", 200), ("v14", 401)])
def test_failed_login_depends_on_the_version(db: Store, version: str, status: int) -> None:
    with FourDServer(db, login="headers", users=USERS, version=version) as server:
        answer = requests.post(f"{server.url}/rest/$directory/login", headers={"username-4D": "x"}, timeout=5)
        assert answer.status_code == status
        assert status == 401 or answer.json() == {"result": False}


def test_guest_of_forced_login_sees_only_the_catalog(db: Store, http: requests.Session) -> None:
    with FourDServer(db, login="force", users=USERS) as server:
        assert http.get(f"{server.url}/rest/$catalog/$all", timeout=5).status_code == 200
        assert http.get(f"{server.url}/rest/Kunden", timeout=5).status_code == 401
        assert http.get(f"{server.url}/rest/$info", timeout=5).status_code == 401
        assert server.sessions.licences_used == 0


def test_authentify_answers_200_but_only_true_means_logged_in(db: Store, http: requests.Session) -> None:
    with FourDServer(db, login="force", users=USERS) as server:
        address = f"{server.url}/rest/$catalog/authentify"
        wrong = http.post(address, json=[{"name": "importer", "password": "falsch"}], timeout=5)
        assert (wrong.status_code, wrong.json()) == (200, {"result": False})
        assert http.get(f"{server.url}/rest/Kunden", timeout=5).status_code == 401
        right = http.post(address, json=[{"name": "importer", "password": "geheim"}], timeout=5)
        assert right.json() == {"result": True}
        assert http.get(f"{server.url}/rest/Kunden", timeout=5).status_code == 200
        assert server.sessions.licences_used == 1


def test_info_lists_sessions_and_sets(db: Store, http: requests.Session) -> None:
    with FourDServer(db) as server:
        http.get(f"{server.url}/rest/Kunden?$method=entityset", timeout=5)
        info = http.get(f"{server.url}/rest/$info", timeout=5).json()
        assert info["entitySetCount"] == 1
        assert info["entitySet"][0]["tableName"] == "Kunden"
        assert [s["lifeTime"] for s in info["sessionInfo"]] == [60]


def test_entity_sets_are_not_bound_to_the_session(db: Store) -> None:
    with FourDServer(db) as server:
        made = requests.get(f"{server.url}/rest/Kunden?$method=entityset", timeout=5).json()
        assert requests.get(server.url + made["__ENTITYSET"], timeout=5).json()["__COUNT"] == 5


def test_stopped_server_refuses_and_comes_back_on_its_port(db: Store, http: requests.Session) -> None:
    server = FourDServer(db).start()
    address = f"{server.url}/rest/Kunden"
    before = http.get(address, timeout=5).cookies["WASID4D"]
    server.stop()
    with pytest.raises(requests.ConnectionError):
        http.get(address, timeout=5)
    with server:
        assert http.get(address, timeout=5).cookies["WASID4D"] != before
