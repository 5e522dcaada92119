"""What do the lines of an address text mean? First the name, then the street, then postal code and city."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

import pyarrow as pa

from legacy_sync.pyerp.rule import Inputs, Options, Rule
from legacy_sync.sync.casts import to_text
from legacy_sync.sync.cells import Cells, map_unique

_CODE_AND_CITY = re.compile(r"^(\d{5})\s+(.+)$")
_CODE = re.compile(r"(?<!\d)\d{5}(?!\d)")


@lru_cache(maxsize=1 << 16)  # each text is asked for its name, street, code and city, twice per document
def address_lines(text: str) -> tuple[str, ...]:
    """The lines that are not blank; separated by CR, else by LF, else by commas. 4D also writes a literal \\r."""
    text = text.replace("\\r\\n", "\r").replace("\\r", "\r").replace("\r\n", "\r")
    separator = next((s for s in ("\r", "\n") if s in text), ",")
    return tuple(line.strip() for line in text.split(separator) if line.strip())


def address_name(text: str) -> str:
    """The first line."""
    return "".join(address_lines(text)[:1])


def address_street(text: str) -> str:
    """The second line; blank if there is none."""
    return "".join(address_lines(text)[1:2])


def address_postal_code(text: str) -> str:
    """Five digits in front of the city, else five digits anywhere; blank if there are none."""
    lines = address_lines(text)
    if len(lines) > 2 and (found := _CODE_AND_CITY.match(lines[2])):
        return found[1]
    return next((code[0] for line in lines if (code := _CODE.search(line))), "")


def address_city(text: str) -> str:
    """The third line without its postal code; blank if there is none."""
    line = "".join(address_lines(text)[2:3])
    found = _CODE_AND_CITY.match(line)
    return found[2] if found else line


def _of_text(read: Callable[[str], str], inputs: Inputs, _options: Options) -> Cells:
    """A blank text is no address: null."""
    cells = inputs["text"]
    texts = cells.with_values(to_text(cells.values))
    return map_unique(texts, lambda text: read(text) if address_lines(text) else None, pa.string())


ADDRESS_RULES = {
    function.__name__: Rule(partial(_of_text, function), ("text",))
    for function in (address_name, address_street, address_postal_code, address_city)
}
