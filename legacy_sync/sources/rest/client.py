"""How do we ask a web service politely, and which of its answers do we believe?

Only paths of the source file are asked for. Passing troubles are asked again with backoff, a refusal ends the
run, and neither a login nor a key of the file ever stands in a message.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urljoin, urlsplit

import orjson
import requests
import tenacity

from legacy_sync.errors import (
    LegacySyncError,
    SettingsInvalid,
    SourceRefused,
    SourceUnavailable,
    SourceUntrustworthy,
)
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.mapping.source_words import (
    BasicAuth,
    BearerAuth,
    BodyAuth,
    HeaderAuth,
    QueryAuth,
    RestTable,
    RestWords,
)
from legacy_sync.settings import MASK, mask_url
from legacy_sync.sources.plain import read_path
from legacy_sync.sources.tls import tls_failure, trusted
from legacy_sync.sources.under_way import CuttableAdapter

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BLOCK = 1 << 18
_MESSAGES = ("message", "error.message", "error", "detail", "errors.0.message", "errors.0")
_LONGEST_MESSAGE = 200
_LONGEST_PAUSE_SECONDS = 120.0
_HOW_TO_TRUST = "a PEM file with the certificate of the authority that issued the server's"
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Question:
    """One request: a table of the source file, and what this page of it adds."""

    name: str
    table: RestTable
    path: str
    params: Mapping[str, Any]
    body: Mapping[str, Any]
    url: str | None = None
    """instead of the path: a link of the answer before"""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A checked answer; `server_time` is the service's clock before it began to work on it."""

    value: T
    server_time: datetime


@dataclass
class Tally:
    """What one reader has cost so far; failed attempts count too."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Parsed:
    """A whole answer of a service: JSON, and the address of the next page if the header has one."""

    data: Any
    next_url: str | None = None


class Throttled(SourceUnavailable):
    """The service asks for a pause."""

    seconds: float = 0.0


@dataclass
class Pacing:
    """When the next request may be sent; shared by all threads of this process."""

    per_minute: int | None
    pause_seconds: float
    _sent: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, sleep: Callable[[float], object]) -> None:
        """Sleep until a request may be sent, and count it."""
        with self._lock:
            pause = self._pause(time.monotonic())
            if pause > 0:
                sleep(pause)
            self._sent.append(time.monotonic())

    def _pause(self, now: float) -> float:
        while self._sent and now - self._sent[0] >= 60:
            self._sent.popleft()
        pause = self.pause_seconds - (now - self._sent[-1]) if self._sent else 0.0
        if self.per_minute and len(self._sent) >= self.per_minute:
            pause = max(pause, 60 - (now - self._sent[-self.per_minute]))
        return pause


class RestClient:
    """Asks one service; safe to share between threads."""

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self._words = cast(RestWords, spec.options)
        self._base = _base_of(spec)
        self._verify = trusted(self._words.ca_file, spec.place, spec.how_to_set("ca_file"))
        self._secrets = [secret for _, secret in self._words.secrets() if secret]
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, CuttableAdapter())
        self._session.headers.update({"Accept": "application/json", "User-Agent": "legacy_sync", **self._words.headers})
        self._pacing = Pacing(self._words.requests_per_minute, self._words.pause_seconds)
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __repr__(self) -> str:
        return f"RestClient({mask_url(self._base)!r})"

    @property
    def where(self) -> str:
        """The service, for messages."""
        return f"source {self._spec.name}, {mask_url(self._base)}"

    def ask(self, question: Question, check: Callable[[Parsed, str], T], tally: Tally, place: str = "") -> Answer[T]:
        """Ask until `check(parsed, where)` is content with the answer; what it returns is the value.

        `check` raises SourceUntrustworthy for an answer it doubts, which is then asked for again. Raises
        SourceUnavailable, SourceRefused, SourceUntrustworthy and SettingsInvalid.
        """
        where = ", ".join(part for part in (self.where, f'table "{question.name}"', place) if part)
        return self._trying_again()(partial(self._ask, question, check, where, tally))

    def close(self) -> None:
        """Give the connections back."""
        self._stop.set()
        self._session.close()

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _trying_again(self) -> tenacity.Retrying:
        return self._words.retry.trying(_may_pass, told=_log_pause, wait=self._pause, sleep=self._sleep)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Longer where the service asks for it."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.seconds if isinstance(error, Throttled) else 0.0
        return max(self._words.retry.pause(state.attempt_number), asked)

    def _ask(self, question: Question, check: Callable[[Parsed, str], T], where: str, tally: Tally) -> Answer[T]:
        began = time.monotonic()
        with self._lock:
            self._pacing.wait(self._sleep)
            response, content = self._transfer(question, where, tally)
        parsed = self._judged(response, content, question, where)
        return Answer(check(parsed, where), _server_time(response.headers, time.monotonic() - began))

    def _transfer(self, question: Question, where: str, tally: Tally) -> tuple[requests.Response, bytes]:
        words = self._words
        tally.requests += 1
        try:
            with self._session.request(
                question.table.method,
                **self._written(question, where),
                timeout=(words.connect_timeout_seconds, words.timeout_seconds),
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = b"".join(response.iter_content(_BLOCK))
        except requests.exceptions.SSLError as error:
            raise tls_failure(error, where, f"{self._spec.how_to_set('ca_file')}: {_HOW_TO_TRUST}") from None
        except requests.RequestException as error:
            raise SourceUnavailable(
                f"the service did not answer completely: {_cause(error)}",
                where=where,
                next_step=f"check the network and the service, then run again; else {self._spec.how_to_set('url')}",
            ) from None  # its text may hold the address with a key
        tally.bytes += len(content)
        return response, content

    def _written(self, question: Question, where: str) -> dict[str, Any]:
        """The request as `requests` takes it, with everything that says who we are."""
        params, body, headers, login = dict(question.params), dict(question.body), {}, None
        for number, auth in enumerate(self._words.auth):
            self._require(auth, number, where)
            match auth:
                case BasicAuth():
                    login = (auth.user.get_secret_value().encode(), auth.password.get_secret_value().encode())
                case BearerAuth():
                    headers["Authorization"] = f"Bearer {auth.token.get_secret_value()}"
                case HeaderAuth():
                    headers[auth.name] = auth.value.get_secret_value()
                case BodyAuth():
                    body[auth.name] = auth.value.get_secret_value()
                case QueryAuth():
                    params[auth.name] = auth.value.get_secret_value()
        written: dict[str, Any] = {"url": self._address(question, where), "params": params, "headers": headers}
        if question.table.method == "POST":
            written["json" if question.table.body_format == "json" else "data"] = body
        return {**written, "auth": login or _as_it_is}

    def _require(self, auth: Any, number: int, where: str) -> None:
        """A login without a value would only be refused with less to go by."""
        for word, secret in auth:
            path = f"auth.{word}" if f"auth.{word}" in self._spec.variables else f"auth[{number}].{word}"
            if word not in ("type", "name") and not secret.get_secret_value():
                raise SettingsInvalid(
                    f'the source {self._spec.name} has no "{word}" to log in with',
                    where=where,
                    next_step=self._spec.how_to_set(path),
                )

    def _address(self, question: Question, where: str) -> str:
        if question.url is None:
            return f"{self._base}/{quote(question.path.lstrip('/'), safe='/.-_~,:@')}"
        url = urljoin(f"{self._base}/{question.path.lstrip('/')}", question.url)
        if urlsplit(url)[:2] != urlsplit(self._base)[:2]:
            raise SourceRefused(
                f'the next page lies on another server, "{urlsplit(url).netloc}"; it gets no login of ours',
                where=where,
                next_step="correct `url`, or choose another way of paging",
            )
        return url

    # --- judging

    def _judged(self, response: requests.Response, content: bytes, question: Question, where: str) -> Parsed:
        status = response.status_code
        if status != 200:
            raise self._refusal(response, content, where)
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError:
            kind = response.headers.get("Content-Type", "no type").split(";")[0]
            raise SourceUnavailable(
                f"the answer is no JSON but {len(content):,} bytes of {kind}",
                where=where,
                next_step=f"look at {mask_url(self._base)} in a browser: perhaps it is being maintained",
            ) from None
        for path, wanted in question.table.success.items():
            if read_path(data, path) != wanted:
                said = self._message(data) or f'"{path}" is not {_shown(wanted)}'
                raise SourceUntrustworthy(
                    f"the service answers with an error: {said}", where=where, next_step="act on what the service says"
                )
        next_url = response.links.get("next", {}).get("url")
        return Parsed(data, next_url)

    def _refusal(self, response: requests.Response, content: bytes, where: str) -> LegacySyncError:
        status = response.status_code
        try:
            said = self._message(orjson.loads(content))
        except orjson.JSONDecodeError:
            said = ""
        what = f"the service answers HTTP {status} {response.reason or ''}".rstrip() + (f": {said}" if said else "")
        if status in _PASSING:
            waiting = Throttled(what, where=where, next_step="wait, then run again")
            waiting.seconds = _seconds_to_wait(response.headers.get("Retry-After"))
            return waiting
        if status in (401, 403):
            return SourceRefused(what, where=where, next_step=self._login_step())
        if 300 <= status < 400:
            target = _host_of(response.headers.get("Location", "")) or "another path"
            return SourceRefused(f"{what}, to {target}", where=where, next_step=self._spec.how_to_set("url"))
        if status >= 500:
            return SourceUnavailable(what, where=where, next_step="wait, then run again")
        next_step = f"compare {self._spec.place or 'the source file'} with the service's manual"
        return SourceRefused(what, where=where, next_step=next_step)

    def _login_step(self) -> str:
        names = [name for word, name in self._spec.variables.items() if word.startswith("auth")]
        return f"check {', '.join(names)}" if names else f"check `auth` in {self._spec.place or 'the source file'}"

    def _message(self, data: Any) -> str:
        """What a service says of an error, without our secrets."""
        for path in _MESSAGES:
            said = read_path(data, path)
            if isinstance(said, str) and said.strip():
                return f'"{self._masked(said.strip()[:_LONGEST_MESSAGE])}"'
        return ""

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, SourceUnavailable | SourceUntrustworthy)


def _log_pause(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    what = error.what if isinstance(error, LegacySyncError) else type(error).__name__
    where = error.where if isinstance(error, LegacySyncError) else ""
    pause = state.next_action.sleep if state.next_action else 0.0
    logger.warning("%s; asked again in %.1f s (attempt %d; %s)", what, pause, state.attempt_number, where)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No login: without this, `requests` would take one from the .netrc of this user."""
    return request


def _base_of(spec: SourceSpec) -> str:
    url = cast(RestWords, spec.options).url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname and parts.username is None:
        return url
    what = f'the url of the source {spec.name} is no address such as "https://host/api"'
    if not url:
        what = f"the source {spec.name} has no address"
    elif parts.username is not None:
        what = f"the url of the source {spec.name} holds a login; `auth` is the place for it"
    raise SettingsInvalid(what, where=spec.place, next_step=spec.how_to_set("url"))


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


def _host_of(location: str) -> str:
    try:
        return urlsplit(location).netloc.rsplit("@", 1)[-1]
    except ValueError:
        return ""


def _seconds_to_wait(header: str | None) -> float:
    """Retry-After in seconds, from a number or a time; never longer than two minutes."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):  # a text that is no time, or one without a zone
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)


def _server_time(headers: Mapping[str, str], seconds: float) -> datetime:
    """The Date header less the time the answer took: no row changed after it can have been missed."""
    try:
        told = parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        told = datetime.now(UTC)
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return (told.astimezone(UTC) - timedelta(seconds=seconds)).replace(microsecond=0)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'
