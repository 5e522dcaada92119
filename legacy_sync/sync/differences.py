"""In which ways can both sides differ, and does somebody have to act? The words of a reconciliation; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Literal

Weight = Literal["fault", "waits", "fine"]
State = Literal["agrees", "waits", "differs"]


@dataclass(frozen=True)
class Kind:
    """One way to differ: whether it is a fault, waits for something known, or is as it should be."""

    weight: Weight
    sentence: str
    """what is true of such rows; stands behind their number"""
    is_repairable: bool = False
    """a full fetch and load settles it"""


KINDS = {
    "not_loaded": Kind("fault", "in the source, and no run will bring them unless all rows are read", True),
    "erp_row_deleted": Kind("fault", "loaded, and the row was deleted in the ERP", True),
    "differs": Kind("fault", "differ, and no run will bring the change unless all rows are read", True),
    "new": Kind("waits", "new in the source; the next run brings them", True),
    "lag": Kind("waits", "changed in the source; the next run brings it", True),
    "gone": Kind("waits", "gone from the source, not noticed by a run yet", True),
    "parked": Kind("waits", "wait in the quarantine"),
    "waits_for_parent": Kind("waits", "wait in the quarantine for a row they refer to"),
    "conflict": Kind("waits", "changed on both sides, for a person to decide"),
    "other_writer": Kind("fine", "have values that another mapping or a rule of the sync wrote"),
    "edited": Kind("fine", "edited in the ERP, kept by policy"),
    "discarded": Kind("fine", "in the source, and discarded by a person"),
    "gone_settled": Kind("fine", "gone from the source, dealt with as the mapping declares"),
    "unbound": Kind("fine", "in the ERP, and not from the source"),
}
"""In the order in which people should look at them."""


@dataclass(frozen=True)
class Difference:
    """One row, or one value of a row, in which both sides differ."""

    kind: str
    legacy_key: str | None
    erp_key: str | None = None
    column: str | None = None
    legacy_value: str | None = None
    erp_value: str | None = None
    why: str | None = None

    @property
    def weight(self) -> Weight:
        """Whether somebody has to act."""
        return KINDS[self.kind].weight


@dataclass(frozen=True)
class Sum:
    """The sum of a numeric column over the rows that are on both sides."""

    column: str
    legacy: Decimal | None
    erp: Decimal | None


@dataclass
class Reconciliation:
    """How many rows each side has, and in how many they differ in which way."""

    entity: str
    values: bool
    """whether values were compared, not only keys"""
    read: int = 0
    """records of the source that the mapping means"""
    keys: int = 0
    """different keys among them"""
    bound: int = 0
    erp_rows: int = 0
    """rows of the ERP table, whoever made them"""
    compared: int = 0
    """rows whose values were compared"""
    buckets: int = 0
    """slices of the keys in which rows were compared by their hash"""
    buckets_differing: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """kind -> rows"""
    cells: dict[str, int] = field(default_factory=dict)
    """kind -> values, where values differ"""
    sums: list[Sum] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def total(self, kinds: Iterable[str]) -> int:
        """Rows of these kinds."""
        return sum(self.rows.get(kind, 0) for kind in kinds)

    def count(self, weight: Weight) -> int:
        """Rows of all kinds of a weight."""
        return self.total(kind for kind, word in KINDS.items() if word.weight == weight)

    @property
    def state(self) -> State:
        """The worst there is, in one word."""
        return "differs" if self.count("fault") else "waits" if self.count("waits") else "agrees"

    @property
    def is_repairable(self) -> bool:
        """Whether a full fetch and load would settle anything."""
        return any(KINDS[kind].is_repairable for kind in self.rows)

    def in_words(self) -> str:
        """The differences in one sentence, the worst first."""
        told = [f"{self.rows[kind]:,} {KINDS[kind].sentence}" for kind in KINDS if kind in self.rows]
        return "; ".join(told) or "both sides agree"

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {"entity": self.entity, "state": self.state, **{k: v for k, v in asdict(self).items() if k != "entity"}}
