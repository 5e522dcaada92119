"""Which known name was probably meant?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def find_closest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, whatever the case; None if none is similar."""
    candidates = list(known)
    same = [c for c in candidates if c.casefold() == name.casefold() and c != name]
    if same:
        return same[0]
    by_folded = {c.casefold(): c for c in candidates}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """A next step: the closest name if there is one, then `otherwise`."""
    closest = find_closest(name, known)
    return f'did you mean "{closest}"? Otherwise {otherwise}' if closest else otherwise


def name_all(known: Iterable[str], limit: int = 30) -> str:
    """The names in one line, shortened when there are many."""
    names = list(known)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
