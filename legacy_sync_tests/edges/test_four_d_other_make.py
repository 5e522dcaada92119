"""Does the client get along with a 4D server of another make, and hide what such a server blurts out?"""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from four_d_setup import QUICK, keys_of, read_all

from legacy_sync.errors import (
    SessionLimitReached,
    SettingsInvalid,
    SourceRefused,
    SourceUnavailable,
    SourceUntrustworthy,
)
from legacy_sync.sources.four_d.client import ClientOptions, SimpleAPIClient
from legacy_sync.sources.four_d.session import Credentials
from legacy_sync.sources.four_d.source import FourDSource

Answer = tuple[int, dict[str, str], str]
Script = Callable[[str, dict[str, str]], Answer]
PLAIN = {"Content-Type": "application/json"}
SINGLE = '{"name":"Orte","attributes":[{"name":"ID","kind":"storage","type":"long"}],"key":[{"name":"ID"}]}'


@contextmanager
def answering(script: Script, password: str = "", **options: float) -> Iterator[FourDSource]:
    """A source that asks a server which does nothing but what the script says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {":path": self.path, **{name.lower(): value for name, value in self.headers.items()}}
            status, more, body = script(unquote(self.path), headers)
            self.send_response_only(status)
            for name, value in {**more, "Content-Length": str(len(body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        credentials = Credentials("importer", password) if password else None
        quick = ClientOptions(**{**vars(QUICK), **options})
        source = FourDSource(SimpleAPIClient(f"http://127.0.0.1:{http.server_address[1]}", credentials, quick))
        yield source
        source.close()
        http.shutdown()


def orte(path: str, _: dict[str, str]) -> Answer:
    """Another order of keys, no __DATACLASS, no Date, an unwrapped catalog, numeric __KEY."""
    if "$catalog/Orte" in path:
        return 200, PLAIN, SINGLE
    if "$catalog" in path:
        return 200, PLAIN, '{"dataClasses":[{"name":"Orte"}]}'
    after = int((re.findall(r"\[(\d+)\]", path) or ["0"])[0])
    rows = [{"ID": n, "__STAMP": 1, "__KEY": n} for n in (1, 2, 3) if n > after]
    return 200, PLAIN, json.dumps({"__SENT": -7, "__ENTITIES": rows[:2], "__COUNT": len(rows)})


def test_order_of_keys_missing_words_and_numeric_keys_do_not_matter():
    with answering(orte) as source:
        rows, fetch = read_all(source, "Orte", page_size=2)
    assert keys_of(rows) == ["1", "2", "3"]
    assert fetch.report.complete
    assert "this machine's clock" in fetch.report.notes[0]


@pytest.mark.parametrize("keys", [(2, 1), ("B", "a")])
def test_an_order_the_server_ignored_is_noticed(keys):
    def script(path: str, headers: dict[str, str]) -> Answer:
        if "$catalog" in path:
            return orte(path, headers)
        rows = [{"__KEY": str(key), "ID": key, "__STAMP": 1} for key in keys]
        return 200, PLAIN, json.dumps({"__COUNT": 2, "__ENTITIES": rows})

    with answering(script) as source, pytest.raises(SourceUntrustworthy, match='not in the order of "ID"'):
        read_all(source, "Orte")


def test_everything_is_percent_encoded_and_nothing_form_encoded():
    asked = []

    def script(path: str, headers: dict[str, str]) -> Answer:
        asked.append(headers[":path"])
        return 200, PLAIN, '{"__COUNT":0,"__ENTITIES":[]}'

    with answering(script) as source:
        source.probe("Währungen", "Änderung", date(2025, 4, 1))
    assert asked[-1] == (
        "/rest/W%C3%A4hrungen?$filter=%22%28%C3%84nderung%20%3E%3D%20%3A1%29%22"
        "&$params=%27%5B%222025-04-01%22%5D%27&$top=1&$orderby=%22%C3%84nderung%20desc%22"
    )


def test_another_password_is_another_session():
    def script(path: str, headers: dict[str, str]) -> Answer:
        return orte(path, headers) if headers["password-4d"] == "richtig" else (401, {}, "")

    with answering(script, password="richtig") as source:
        url = source.client.where.removeprefix("4D server ")
        wrong = FourDSource(SimpleAPIClient(url, Credentials("importer", "falsch"), QUICK))
        assert source.describe()
        with pytest.raises(SourceRefused, match="refuses the login"):
            wrong.describe()


def test_cookies_of_any_name_are_sent_back():
    seen = []

    def script(path: str, headers: dict[str, str]) -> Answer:
        seen.append(headers.get("cookie", ""))
        status, more, body = orte(path, headers)
        return status, {**more, "Set-Cookie": "Sitzung-äh=geheim; Path=/; Version=1".encode().decode("latin-1")}, body

    with answering(script) as source:
        read_all(source, "Orte", page_size=2)
    assert seen[0] == ""
    assert all("geheim" in cookie for cookie in seen[1:])


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_without_a_body_is_a_refusal(status):
    with answering(lambda path, _: (status, {}, "")) as source, pytest.raises(SourceRefused, match="refuses the login"):
        source.describe()


def test_a_redirect_is_not_followed():
    with (
        answering(lambda path, _: (302, {"Location": "https://erp/rest"}, "")) as source,
        pytest.raises(SourceRefused, match='redirects to "https://erp/rest"'),
    ):
        source.describe()


def test_a_402_without_a_body_is_a_missing_licence():
    with (
        answering(lambda path, _: (402, {}, ""), session_wait_seconds=0.05) as source,
        pytest.raises(SessionLimitReached),
    ):
        source.describe()


@pytest.mark.parametrize(
    "body",
    [
        '{"__ERROR":[{"message":"kein Filter","code":1500}]}',
        '{"__ERRORS":{"message":"kein Filter","errCode":"1279"}}',
        '{"errors":[{"message":"kein Filter","errCode":1162}]}',
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_a_refused_filter_is_asked_for_only_once_whatever_its_spelling(status, body):
    asked = []

    def script(path: str, _: dict[str, str]) -> Answer:
        asked.append(path)
        return (status, PLAIN, body) if "/Orte" in path else orte(path, _)

    with answering(script) as source, pytest.raises(SourceRefused, match="kein Filter"):
        source.probe("Orte", None, None)
    assert len([path for path in asked if "/Orte" in path]) == 1


def test_latin_1_and_raw_control_characters_are_read():
    def script(path: str, _: dict[str, str]) -> Answer:
        if "$catalog" in path:
            return orte(path, _)
        row = '{"__KEY":"1","__STAMP":1,"ID":1,"Text":"a\tb\\ud800c"}' if "[1]" not in path else ""
        return 200, PLAIN, f'{{"__COUNT":{1 if row else 0},"__ENTITIES":[{row}]}}'

    with answering(script) as source:
        assert read_all(source, "Orte", page_size=1)[0][0]["Text"] == "a\tb?c"


def test_a_server_that_repeats_secrets_does_not_bring_them_into_messages(caplog):
    caplog.set_level(logging.DEBUG)

    def script(path: str, headers: dict[str, str]) -> Answer:
        told = f"dump: {headers.get('password-4d')} {headers.get('cookie')}"
        return 500, {**PLAIN, "Set-Cookie": "WASID4D=ABCDEF123456; Path=/"}, json.dumps({"__ERROR": told})

    with answering(script, password="sehr-geheim") as source, pytest.raises(SourceUnavailable) as caught:
        source.describe()
    for text in (str(caught.value), caplog.text):
        assert "sehr-geheim" not in text
        assert "ABCDEF123456" not in text
    assert "***" in str(caught.value)


def test_a_cookie_that_changes_with_every_answer_ends_in_no_endless_login():
    asked = []

    def script(path: str, headers: dict[str, str]) -> Answer:
        asked.append(path)
        status, more, body = orte(path, headers)
        return status, {**more, "Set-Cookie": f"WASID4D={len(asked):032X}; Path=/"}, body

    with answering(script, password="geheim") as source:
        assert len(read_all(source, "Orte", page_size=2)[0]) == 3
    assert len(asked) < 60


def test_an_answer_that_is_no_catalog_is_refused():
    def script(path: str, _: dict[str, str]) -> Answer:
        return 200, PLAIN, '{"hello":"world"}'

    with answering(script) as source, pytest.raises(SourceUntrustworthy, match="no 4D catalog"):
        source.describe()


def test_a_url_without_a_host_is_no_url():
    with pytest.raises(SettingsInvalid, match="names no host"):
        SimpleAPIClient("http://")
