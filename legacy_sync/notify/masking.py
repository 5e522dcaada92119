"""What must not leave the house? Secrets out of the environment, passwords in addresses, values of rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from legacy_sync.mapping.source_words import secrets_in
from legacy_sync.settings import MASK, Settings

_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|_KEY$|APIKEY|NOTIFY|HEARTBEAT|CREDENTIAL", re.IGNORECASE)
_LOGIN = re.compile(r"(\w://)[^\s/@]*@")
_ROW_VALUE = re.compile(r"=\([^)]*\)")
"""as PostgreSQL shows the values of a row: Key (email)=(a@b.c)"""
_MAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_SEPARATORS = re.compile(r"[/:@?&=,\s]+")
_SHORTEST_TOKEN = 12
_SHORTEST = 4
"""shorter texts are no secrets, and would hide letters everywhere"""


class Mask:
    """Hides in any text what must not be told."""

    def __init__(self, settings: Settings, *others: object) -> None:
        secrets = {value for name, value in settings.values.items() if _SECRET_NAME.search(name)}
        addresses = [*settings.notify_urls, *(word for value in others for _, word in secrets_in(value))]
        secrets |= {part for address in addresses for part in (address, *_parts_of(address))}
        secrets |= {secret for value in settings.values.values() for secret in _passwords_in(value)}
        parts = {part for secret in secrets for part in (secret, *secret.split()) if len(part) >= _SHORTEST}
        self._secrets = sorted(parts, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _LOGIN.sub(rf"\1{MASK}@", text)
        return _MAIL.sub("…@…", _ROW_VALUE.sub("=(…)", text))


def _parts_of(address: str) -> Iterable[str]:
    """What stands in an address behind the host: tokens, in most kinds of channels."""
    if "://" in address:
        yield from (part for part in _SEPARATORS.split(address) if len(part) >= _SHORTEST_TOKEN)


def _passwords_in(value: str) -> Iterable[str]:
    if "://" not in value:
        return
    try:
        password = urlsplit(value).password
    except ValueError:
        return
    if password:
        yield from {password, unquote(password)}
