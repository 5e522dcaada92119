"""What did it cost to fetch some rows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class Cost:
    """Requests made, bytes received and seconds spent, for rows that were fetched together."""

    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.requests + other.requests, self.bytes + other.bytes, self.seconds + other.seconds)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.requests - other.requests, self.bytes - other.bytes, self.seconds - other.seconds)

    def split(self, rows: Sequence[int]) -> list[Cost]:
        """One part for each partition a fetch filled, by its rows; together they are the whole again."""
        weights = rows if sum(rows) else [1] * len(rows)
        steps = [0.0, *(done / sum(weights) for done in accumulate(weights))]
        upto = [Cost(round(self.requests * s), round(self.bytes * s), self.seconds * s) for s in steps]
        return [after - before for before, after in pairwise(upto)]


NOTHING = Cost()
