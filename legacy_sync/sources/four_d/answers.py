"""Is this HTTP answer of a 4D server data, a passing trouble or a refusal?

`read_answer` returns the parsed JSON of a good answer and raises for everything else: RetryLater
families for what may pass, AbortRun families for what will not. Two signals never leave the 4D
folder: `LoginNeeded` (the client logs in again) and `EntitySetLost` (the reader builds a new one).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from legacy_sync.errors import (
    RetryLater,
    SessionLimitReached,
    SourceRefused,
    SourceUnavailable,
    SourceUntrustworthy,
)
from legacy_sync.settings import mask_url

UNKNOWN_TABLE = 1800
ENTITY_SET_LOST = frozenset({1802, 1803})
LOGIN_FAILED = frozenset({1822, 1913})
SESSION_LIMIT = 1823
FILTER_REFUSED = frozenset({1112, 1162, 1200, 1201, 1279, 1280, 1500})
REQUEST_REFUSED = frozenset({1801, *range(1804, 1814), *range(1815, 1822)})

_ERROR_KEYS = ("__ERROR", "__ERRORS", "errors")
_ENTITY_ERROR_KEYS = ("__ERROR", "__ERRORS")
_LONGEST_TEXT = 300
_CODE = re.compile(r"-?[0-9]{1,9}")


class LoginNeeded(RetryLater):
    """The server does not know who asks, or refuses this user; the client logs in once more."""


class EntitySetLost(RetryLater):
    """The entity set expired or belongs to another table; it has to be built again."""


class TableUnknown(SourceRefused):
    """404/1800; the source adds the closest names before a person reads it."""


@dataclass(frozen=True)
class ServerError:
    """One item of an `__ERROR` list, whatever its spelling; code 0 when the server gave none."""

    code: int
    message: str

    def __str__(self) -> str:
        return f"{self.code} {self.message}" if self.code else self.message


def read_answer(status: int, headers: Mapping[str, str], body: bytes, where: str) -> object:
    """The JSON of a good answer; raises the error family that tells what to do next."""
    parsed = parse_json(body, headers.get("Content-Type", ""))
    errors = find_errors(parsed)
    codes = {error.code for error in errors}
    said = _said(status, errors, body, parsed is None)
    _raise_for_login_and_sessions(status, codes, said, where)
    if 300 <= status < 400:
        raise _refused(
            f'the server redirects to "{mask_url(headers.get("Location", "?"))}"', where, "set LEGACY_API_URL to it"
        )
    if parsed is None:
        raise _unavailable(said, where)
    _raise_for_codes(codes, said, where)
    if 400 <= status < 500 and status not in (408, 429):
        raise _refused(said, where, "read the server's message; the request will not succeed unchanged")
    if status >= 500 or errors or status != 200:
        raise _unavailable(said, where)
    if b"__ERROR" in body.replace(b"\x00", b""):  # also in an answer of two bytes per character
        _raise_for_entity_errors(parsed, where)
    return parsed


def parse_json(body: bytes, content_type: str = "") -> object | None:
    """The parsed body, or None when it is no complete JSON (HTML, truncated, empty)."""
    text = body.strip()
    if text[:1] not in (b"{", b"["):
        return None
    charset = _charset(content_type)
    try:
        if charset not in ("utf-8", "utf8"):
            text = text.decode(charset).encode()
        parsed: object = orjson.loads(text)
        return parsed
    except (orjson.JSONDecodeError, UnicodeDecodeError, LookupError):
        return _parse_leniently(text)


def find_errors(parsed: object) -> list[ServerError]:
    """All errors at the top of an answer, in any of the spellings 4D servers use."""
    if not isinstance(parsed, dict):
        return []
    for key in _ERROR_KEYS:
        if parsed.get(key):
            return _as_errors(parsed[key])
    if parsed.get("success") is False or ("statusText" in parsed and "__ENTITIES" not in parsed):
        return _as_errors(parsed.get("statusText") or "the server reports no success")
    return []


def is_only_ok(parsed: object) -> bool:
    """Whether the answer is `{"ok":true}`, which 4D sends when a request produced no output at all."""
    return isinstance(parsed, dict) and parsed.get("ok") is True and "__ENTITIES" not in parsed


def unavailable_next_step() -> str:
    """What a person does about a server that does not answer properly."""
    return "check that LEGACY_API_URL reaches the REST server, then run again"


def _parse_leniently(text: bytes) -> object | None:
    """JSON with raw control characters, NaN or lone surrogates, which 4D texts may hold; else None."""
    try:
        loose = json.loads(text.decode(), strict=False, parse_constant=lambda _: None)
        parsed: object = orjson.loads(json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace"))
        return parsed
    except (ValueError, RecursionError):  # no JSON, no text, a number of thousands of digits; brackets without end
        return None


def _charset(content_type: str) -> str:
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'").lower()
    return "utf-8"


def _as_errors(value: object) -> list[ServerError]:
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return [ServerError(0, _one_line(str(value)))]
    return [_as_error(item) for item in value]


def _as_error(item: object) -> ServerError:
    if not isinstance(item, Mapping):
        return ServerError(0, _one_line(str(item)))
    code = item.get("errCode", item.get("code", 0))
    message = item.get("message") or item.get("statusText") or "no message"
    return ServerError(int(code) if _CODE.fullmatch(str(code)) else 0, _one_line(str(message)))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_TEXT]


def _said(status: int, errors: Iterable[ServerError], body: bytes, is_no_json: bool) -> str:
    told = "; ".join(map(str, errors))
    if told:
        return f"the 4D server answered HTTP {status}: {told}"
    if not is_no_json:
        return f"the 4D server answered HTTP {status}"
    kind = "HTML" if body.lstrip()[:1] == b"<" else "text that is no complete JSON"
    return f"the 4D server answered HTTP {status} with {kind} ({len(body)} bytes)"


def _raise_for_login_and_sessions(status: int, codes: set[int], said: str, where: str) -> None:
    if status == 402 or SESSION_LIMIT in codes:
        raise SessionLimitReached(
            f"no session is free on the 4D server: {said}",
            where=where,
            next_step="close 4D clients or wait until a session expires (60 minutes), then run again",
        )
    if status in (401, 403) or codes & LOGIN_FAILED:
        raise LoginNeeded(
            said, where=where, next_step="check LEGACY_API_USER, LEGACY_API_PASSWORD and the user's rights"
        )


def _raise_for_codes(codes: set[int], said: str, where: str) -> None:
    if UNKNOWN_TABLE in codes:
        raise TableUnknown(
            said, where=where, next_step="check the table's name and that it is exposed as REST resource"
        )
    if codes & ENTITY_SET_LOST:
        raise EntitySetLost(said, where=where, next_step="run again")
    if codes & (FILTER_REFUSED | REQUEST_REFUSED):
        raise _refused(said, where, "check the cursor and key attributes of the mapping against the 4D catalog")


def _raise_for_entity_errors(parsed: object, where: str) -> None:
    entities = parsed.get("__ENTITIES") if isinstance(parsed, dict) else None
    if not isinstance(entities, list):
        return
    for key in _ENTITY_ERROR_KEYS:
        for entity in entities:
            if isinstance(entity, dict) and key in entity:
                told = "; ".join(map(str, _as_errors(entity[key])))
                raise SourceUntrustworthy(
                    f'the row "{entity.get("__KEY", "?")}" carries an error instead of its values: {told}',
                    where=where,
                    next_step="open this record in 4D and repair it, then run again",
                )


def _refused(what: str, where: str, next_step: str) -> SourceRefused:
    return SourceRefused(what, where=where, next_step=next_step)


def _unavailable(what: str, where: str) -> SourceUnavailable:
    return SourceUnavailable(what, where=where, next_step=unavailable_next_step())
