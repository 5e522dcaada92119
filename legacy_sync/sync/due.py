"""Which rows will the next ordinary run read? What differs in others stays so until all rows are read; pure."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.base import KEY, STAMP
from legacy_sync.sync.casts import cast_dates, to_text
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.scopes import FetchPlan


class Due:
    """Knows what the request streams of the next run will bring; `everything` if they are not all there is to it."""

    def __init__(self, mapping: Mapping, plans: Sequence[FetchPlan], *, everything: bool) -> None:
        self._mapping = mapping
        self._plans = plans
        self._everything = everything or mapping.strategy == "fingerprint"

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """For each record whether the next run reads it; in doubt it does."""
        if self._everything:
            return pa.repeat(pa.scalar(True), batch.num_rows)
        due = pa.repeat(pa.scalar(False), batch.num_rows)
        days = self._days(batch)
        for plan in self._plans:
            due = pc.or_(due, self._read_by(plan, batch, days))
        return due

    def _read_by(self, plan: FetchPlan, batch: pa.RecordBatch, days: pa.Array) -> pa.Array:
        if plan.stamp_from is not None:
            index = batch.schema.get_field_index(STAMP)
            stamps = to_text(batch.column(index)).cast(pa.int64()) if index >= 0 else pa.nulls(batch.num_rows)
            return pc.fill_null(pc.greater_equal(stamps.cast(pa.int64()), plan.stamp_from), True)
        window = plan.windows[0]
        is_blank_read = plan.cursor_from is None or window.partition not in plan.full
        inside = pa.repeat(pa.scalar(True), batch.num_rows)
        if plan.cursor_from is not None:
            inside = pc.fill_null(pc.greater_equal(days, plan.cursor_from), is_blank_read)
        if plan.cursor_to is not None:
            inside = pc.and_(inside, pc.fill_null(pc.less(days, plan.cursor_to), is_blank_read))
        return (
            inside if plan.across else pc.and_(inside, _in_key_range(batch, window.key_from, plan.windows[-1].key_to))
        )

    def _days(self, batch: pa.RecordBatch) -> pa.Array:
        index = batch.schema.get_field_index(self._mapping.source.cursor or "")
        if index < 0:
            return pa.nulls(batch.num_rows, pa.date32())
        return cast_dates(Cells(batch.column(index))).values


def _in_key_range(batch: pa.RecordBatch, first: str | None, end: str | None) -> pa.Array:
    if first is None and end is None:
        return pa.repeat(pa.scalar(True), batch.num_rows)
    keys = to_text(batch.column(KEY))
    inside = pc.greater_equal(keys, first or "")
    return inside if end is None else pc.and_(inside, pc.less(keys, end))
