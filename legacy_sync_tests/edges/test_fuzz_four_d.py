"""Whatever a 4D server answers: the right rows, or a sentence. Never another error, never a wrong row."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from four_d_setup import QUICK, build_store, uid
from fuzz_setup import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from mutating_server import MUTATIONS, Mad, Mutation, gone_mad, other_values, spoil_bytes

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.errors import LegacySyncError
from legacy_sync.sources.base import Scope
from legacy_sync.sources.four_d import session
from legacy_sync.sources.four_d.client import SimpleAPIClient
from legacy_sync.sources.four_d.session import Credentials
from legacy_sync.sources.four_d.source import FourDSource

ROWS = 23
SINCE = date(2025, 3, 1)
HURRIED = replace(
    QUICK,
    retry=QUICK.retry.model_copy(update={"attempts": 2}),
    timeout_seconds=2,
    session_wait_seconds=0.02,
    session_pause_seconds=0.01,
)


@pytest.fixture(scope="module")
def mad() -> Iterator[Mad]:
    with FourDServer(build_store(ROWS), licences=10_000) as server, gone_mad(server) as mad:
        yield mad


def source_at(mad: Mad, *, as_user: bool) -> FourDSource:
    """A source with a session of its own."""
    session._sessions.clear()
    return FourDSource(SimpleAPIClient(mad.url, Credentials("u", "geheim") if as_user else None, HURRIED))


def read_rows(source: FourDSource, **scope: Any) -> list[dict[str, Any]]:
    return [row for batch in source.fetch(Scope("Kunden", page_size=10, **scope)) for row in batch.to_pylist()]


def told(error: LegacySyncError) -> None:
    """Every error says what, where and what to do, is short, and holds no secret."""
    assert error.what
    assert error.next_step
    assert len(str(error)) < 2500
    assert "geheim" not in str(error)


@fuzzed(120)
@given(
    mutations=st.dictionaries(st.integers(-1, 8), st.sampled_from(MUTATIONS), min_size=1, max_size=3),
    seed=st.integers(0, 10_000),
    as_user=st.booleans(),
    scope=st.sampled_from(
        ({}, {"cursor": "modified_date", "cursor_from": SINCE}, {"attributes": ("Name", "Kreditlimit")})
    ),
)
def test_every_answer_is_right_or_refused(
    mad: Mad, mutations: dict[int, Mutation], seed: int, as_user: bool, scope: dict[str, Any]
) -> None:
    mad.begin(mutations, seed)
    source = source_at(mad, as_user=as_user)
    try:
        rows = read_rows(source, **scope)
    except LegacySyncError as error:
        told(error)
        return
    if spoil_bytes in mutations.values():
        return  # a sign more inside of a text is a text as good as any other
    assert {row["__KEY"]: row["Name"] for row in rows} == {uid(n): f"Müller {n}" for n in range(1, ROWS + 1)}
    assert len(rows) == ROWS


@fuzzed(40)
@given(seed=st.integers(0, 10_000), scope=st.sampled_from(({}, {"cursor": "modified_date", "cursor_from": SINCE})))
def test_values_of_any_kind_are_taken_as_they_are_or_refused(mad: Mad, seed: int, scope: dict[str, Any]) -> None:
    mad.begin({-1: other_values}, seed)
    source = source_at(mad, as_user=False)
    try:
        source.probe("Kunden", "modified_date", SINCE)
        rows = read_rows(source, **scope)
    except LegacySyncError as error:
        told(error)
        return
    assert [row["__KEY"] for row in rows] == [uid(n) for n in range(1, ROWS + 1)]


@fuzzed(60)
@given(
    mutations=st.dictionaries(st.integers(-1, 4), st.sampled_from(MUTATIONS), min_size=1, max_size=2),
    seed=st.integers(0, 10_000),
    asked=st.sampled_from(("describe", "probe", "keys", "tombstones")),
)
def test_every_other_answer_is_right_or_refused(
    mad: Mad, mutations: dict[int, Mutation], seed: int, asked: str
) -> None:
    mad.begin(mutations, seed)
    source = source_at(mad, as_user=False)
    try:
        match asked:
            case "describe":
                assert all(info.name == name for name, info in source.describe().items())
            case "probe":
                assert source.probe("Kunden", "modified_date", SINCE).count == ROWS
            case "keys":
                assert len({key for page in source.fetch_keys("Kunden") for key in page}) == ROWS
            case _:
                source.describe()
    except LegacySyncError as error:
        told(error)
