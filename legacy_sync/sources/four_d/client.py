"""How do we ask a 4D REST server without harming it, and when do we believe what it says?

Reads only: GET on an allow-list of paths, with one exception (`POST $catalog/authentify`, the login of
newer servers). A session is a licence, so all clients of a process share one cookie jar per server and
user. Every answer is judged (`answers.py`) and checked by its reader; doubts and passing troubles are
asked again with backoff, a missing licence is waited for, a refusal ends the run.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import requests
import tenacity

from legacy_sync.errors import (
    LegacySyncError,
    SessionLimitReached,
    SettingsInvalid,
    SourceRefused,
    SourceUnavailable,
    SourceUntrustworthy,
)
from legacy_sync.mapping.retry import Retry, give_up
from legacy_sync.settings import MASK
from legacy_sync.sources.four_d.answers import (
    LoginNeeded,
    TableUnknown,
    is_only_ok,
    read_answer,
    unavailable_next_step,
)
from legacy_sync.sources.four_d.catalog import read_catalog
from legacy_sync.sources.four_d.filters import writable_name
from legacy_sync.sources.four_d.session import Credentials, session_for
from legacy_sync.sources.tls import tls_failure, trusted

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PARAMETERS = frozenset({"$filter", "$params", "$orderby", "$top", "$skip", "$method", "$timeout"})
_METHODS = frozenset({"entityset", "release"})
_ENTITY_SET_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_BLOCK = 1 << 18
_LOGIN_PROBES = 5
_HOW_TO_TRUST = "set LEGACY_API_CA to a PEM file with the certificate of the authority that issued the server's"


@dataclass(frozen=True)
class ClientOptions:
    """How patient the client is; all times in seconds."""

    connect_timeout_seconds: float = 10.0
    timeout_seconds: float = 120.0
    retry: Retry = field(default_factory=Retry)
    session_pause_seconds: float = 60.0
    session_wait_seconds: float = 900.0
    ca_file: str | None = None


@dataclass
class Tally:
    """What one reader has cost so far; failed attempts count too."""

    requests: int = 0
    bytes: int = 0
    session_changes: int = 0


@dataclass(frozen=True)
class RestPath:
    """One of the few paths this client may ask for; made only by the class methods below."""

    segments: tuple[str, ...]
    label: str

    @classmethod
    def catalog(cls, table: str | None = None) -> RestPath:
        """The names of all tables, or with "$all" or a table's name their attributes."""
        if table is None or table == "$all":
            return cls(("$catalog", "$all") if table else ("$catalog",), "catalog")
        return cls(("$catalog", writable_name(table)), f'catalog of table "{table}"')

    @classmethod
    def table(cls, name: str, attributes: tuple[str, ...] = ()) -> RestPath:
        """The rows of a table, with all attributes or only the named ones."""
        return cls((writable_name(name), *_attribute_list(attributes)), f'table "{name}"')

    @classmethod
    def entity_set(cls, name: str, set_id: str, attributes: tuple[str, ...] = ()) -> RestPath:
        """The rows of an entity set the server keeps for us."""
        if not _ENTITY_SET_ID.fullmatch(set_id):
            raise SourceUntrustworthy(
                "the 4D server named an entity set that cannot be asked for",
                where=f'table "{name}"',
                next_step="check the 4D server's version",
            )
        segments = (writable_name(name), *_attribute_list(attributes), "$entityset", set_id)
        return cls(segments, f'table "{name}", entity set')


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A checked answer; `server_time` is the server's clock before it began to work on it, None if it told none."""

    value: T
    server_time: datetime | None


class SimpleAPIClient:
    """Reads one 4D REST server; safe to share between threads."""

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        options: ClientOptions | None = None,
        sessions: Path | None = None,
    ) -> None:
        """`sessions` is a folder in which processes share their session; without it each has its own."""
        self.options = options or ClientOptions()
        self._base, in_url = _split_url(url)
        self._verify = trusted(self.options.ca_file, "4D server's certificate", _HOW_TO_TRUST)
        self._credentials = credentials or in_url
        self._session = session_for(self._base, self._credentials, sessions)
        self._tally = Tally()

    def __repr__(self) -> str:
        return f"SimpleAPIClient({self._base!r})"

    @property
    def where(self) -> str:
        """The server, for messages."""
        return f"4D server {self._base}"

    @property
    def tally(self) -> Tally:
        """Requests and bytes of everything this client ever asked."""
        return self._tally

    def get(
        self,
        path: RestPath,
        parameters: Mapping[str, str] | None = None,
        *,
        check: Callable[[object, str], T],
        tally: Tally | None = None,
        stop: threading.Event | None = None,
        place: str = "",
    ) -> Answer[T]:
        """Ask until `check(parsed, where)` is content with the answer; what it returns is the value.

        `check` raises SourceUntrustworthy for an answer it doubts, which is then asked for again. Raises
        SourceUnavailable, SessionLimitReached, SourceRefused, SourceUntrustworthy, and the signal EntitySetLost.
        """
        where = ", ".join(part for part in (self.where, path.label, place) if part)
        ask = partial(self._ask, self._url(path, parameters or {}), check, where, tally or Tally())
        stop = stop or threading.Event()
        return self._waiting_for_a_session(stop)(self._trying_again(stop), ask)

    def close(self) -> None:
        """Give the connections back; the session's cookies stay for the next client of this process."""
        self._session.http.close()

    def _url(self, path: RestPath, parameters: Mapping[str, str]) -> str:
        """By hand: `requests` would form-encode, and 4D does not read `+` as a space."""
        if not _PARAMETERS.issuperset(parameters) or parameters.get("$method", "entityset") not in _METHODS:
            raise ValueError(f"not a reading request: {sorted(parameters)}")
        url = "/".join([self._base, *(_quoted(segment) for segment in path.segments)])
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        return f"{url}?{query}" if query else url

    def _trying_again(self, stop: threading.Event) -> tenacity.Retrying:
        return self.options.retry.trying(
            lambda error: _may_pass(error) and not stop.is_set(),
            told=partial(_log_pause, "asked again"),
            sleep=tenacity.sleep_using_event(stop),
        )

    def _waiting_for_a_session(self, stop: threading.Event) -> tenacity.Retrying:
        """Every attempt without a licence costs the server work, so the pauses are long and their sum is bounded."""
        options = self.options
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, SessionLimitReached) and not stop.is_set()
            ),
            stop=tenacity.stop_before_delay(options.session_wait_seconds),
            wait=tenacity.wait_fixed(options.session_pause_seconds)
            + tenacity.wait_random(0, options.session_pause_seconds / 10),
            sleep=tenacity.sleep_using_event(stop),
            before_sleep=partial(_log_pause, "waits for a free session"),
            retry_error_callback=give_up,
        )

    def _ask(self, url: str, check: Callable[[object, str], T], where: str, tally: Tally) -> Answer[T]:
        """One try: log in again where that is needed, at most once, and take no rows of an unproven session."""
        self._session.enter(partial(self._log_in, tally, where))
        before = self._session.logins
        try:
            parsed, server_time, is_other_session = self._exchange(url, where, tally)
            if not (is_other_session and self._credentials):
                return Answer(check(parsed, where), server_time)
        except LoginNeeded as refusal:
            if self._credentials is None and not self._session.has_cookies():
                raise _login_refused(refusal) from refusal
        self._session.log_in_again(before, partial(self._log_in, tally, where))
        try:
            parsed, server_time, _ = self._exchange(url, where, tally)
        except LoginNeeded as refusal:
            raise _login_refused(refusal) from refusal
        return Answer(check(parsed, where), server_time)

    def _exchange(
        self, url: str, where: str, tally: Tally, body: bytes | None = None
    ) -> tuple[object, datetime | None, bool]:
        """One HTTP request, judged: the parsed body, the server's clock, and whether the session was replaced."""
        began = time.monotonic()
        response, content = self._transfer(url, where, tally, body)
        is_other_session = self._session.note_cookies(response)
        tally.session_changes += is_other_session
        try:
            parsed = read_answer(response.status_code, response.headers, content, where)
        except LegacySyncError as error:
            raise self._without_secrets(error) from None  # the first one may hold a secret
        return parsed, _server_time(response.headers, time.monotonic() - began), is_other_session

    def _transfer(self, url: str, where: str, tally: Tally, body: bytes | None) -> tuple[requests.Response, bytes]:
        options = self.options
        for counted in (tally, self._tally):
            counted.requests += 1
        try:
            with self._session.http.request(
                "GET" if body is None else "POST",
                url,
                data=body,
                headers=self._headers(body),
                timeout=(options.connect_timeout_seconds, options.timeout_seconds),
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = b"".join(response.iter_content(_BLOCK))
        except requests.exceptions.SSLError as error:
            raise tls_failure(error, where, _HOW_TO_TRUST) from None
        except requests.RequestException as error:
            raise SourceUnavailable(
                f"the 4D server did not answer completely: {_cause(error)}",
                where=where,
                next_step=unavailable_next_step(),
            ) from None  # its text may hold a header
        for counted in (tally, self._tally):
            counted.bytes += len(content)
        return response, content

    def _headers(self, body: bytes | None) -> dict[str, str]:
        """With the user in every request, since the server opens a new session in any of them when one expired."""
        login = _login_headers(self._credentials) if self._credentials else {}
        return {**login, "Content-Type": "application/json"} if body is not None else login

    def _log_in(self, tally: Tally, where: str) -> None:
        """Open or renew the session, with the cookies we have: dropping a live session would cost a licence."""
        try:
            try:
                self._open_session(tally, where)
            except LoginNeeded:
                if not self._session.has_cookies():
                    raise
                self._session.forget()  # perhaps a stale cookie is all the server minds
                self._open_session(tally, where)
        except LoginNeeded as refusal:
            raise _login_refused(refusal) from refusal
        except TableUnknown as refusal:
            raise SourceRefused(
                f"there is no 4D REST server at this address: {refusal.what}",
                where=self.where,
                next_step="check LEGACY_API_URL: it is the address before /rest, with the port of the 4D web server",
            ) from refusal

    def _open_session(self, tally: Tally, where: str) -> None:
        """By headers, then, where the server still sees a guest, by `authentify`; proven by reading a row."""
        catalog = self._url(RestPath.catalog(), {})
        self._exchange(catalog, where, tally)
        if self._credentials is None or self._can_read(where, tally):
            return
        logger.info("logging in at %s by authentify", self._base)
        body = json.dumps([{"name": self._credentials.user, "password": self._credentials.password}]).encode()
        self._exchange(f"{catalog}/authentify", where, tally, body)
        if not self._can_read(where, tally):
            raise SourceRefused(
                "the 4D server accepted the login but lets this user read no table",
                where=where,
                next_step="check LEGACY_API_USER, LEGACY_API_PASSWORD and the user's rights in 4D (roles.json)",
            )

    def _can_read(self, where: str, tally: Tally) -> bool:
        """Whether one row of one table can be read; the status of a login says nothing."""
        parsed, _, _ = self._exchange(self._url(RestPath.catalog(), {}), where, tally)
        for name in list(read_catalog(parsed, where))[:_LOGIN_PROBES]:
            try:
                url = self._url(RestPath.table(name), {"$top": "1"})
                parsed, _, _ = self._exchange(url, where, tally)
            except (LoginNeeded, SourceRefused):
                continue
            if not is_only_ok(parsed):
                return True
        return False

    def _without_secrets(self, error: LegacySyncError) -> LegacySyncError:
        """The same error, in case the server repeats a password or a session id in its message."""
        what = error.what
        for secret in self._session.cookie_values():
            what = what.replace(secret, MASK)
        if self._credentials and self._credentials.password:
            what = what.replace(self._credentials.password, MASK)
        return type(error)(what, where=error.where, next_step=error.next_step)


def _split_url(url: str) -> tuple[str, Credentials | None]:
    """The address of the REST root without user and password, and those."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise SettingsInvalid(
            "the legacy server's URL names no host",
            where="environment variable LEGACY_API_URL",
            next_step="set LEGACY_API_URL=http://host:port",
        )
    path = parts.path.rstrip("/")
    if path.rsplit("/", 1)[-1] not in ("rest", "mobileapp"):
        path += "/rest"
    base = urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], path, "", ""))
    if parts.username is None:
        return base, None
    return base, Credentials(unquote(parts.username), unquote(parts.password or ""))


def _attribute_list(attributes: tuple[str, ...]) -> tuple[str, ...]:
    return (",".join(writable_name(name) for name in attributes),) if attributes else ()


def _quoted(segment: str) -> str:
    """Percent-encoded; the leading $ of 4D's own words and the commas of an attribute list stay."""
    return "$" + quote(segment[1:], safe="") if segment.startswith("$") else quote(segment, safe=",")


def _login_headers(credentials: Credentials) -> dict[str, str]:
    try:
        headers = {"username-4D": credentials.user, "password-4D": credentials.password, "session-4D-length": "60"}
        for value in headers.values():
            value.encode("latin-1")
    except UnicodeEncodeError:
        return {name: value.encode().decode("latin-1") for name, value in headers.items()}
    return headers


def _login_refused(refusal: LegacySyncError) -> SourceRefused:
    return SourceRefused(
        f"the 4D server refuses the login: {refusal.what}",
        where=refusal.where,
        next_step="set LEGACY_API_USER and LEGACY_API_PASSWORD to a 4D user who may read this table",
    )


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, (SourceUnavailable, SourceUntrustworthy))


def _log_pause(doing: str, state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    what = error.what if isinstance(error, LegacySyncError) else type(error).__name__
    where = error.where if isinstance(error, LegacySyncError) else ""
    pause = state.next_action.sleep if state.next_action else 0.0
    logger.warning("%s; %s in %.1f s (attempt %d; %s)", what, doing, pause, state.attempt_number, where)


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "it stayed silent for too long"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke in the middle of the answer"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the connection failed or broke"
    return type(error).__name__


def _server_time(headers: Mapping[str, str], seconds: float) -> datetime | None:
    """The Date header less the time the answer took: no row changed after it can have been missed."""
    try:
        told = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return (told.astimezone(UTC) - timedelta(seconds=seconds)).replace(microsecond=0)
