"""Which source is meant by a kind such as "four_d"? Sources are packages, found by entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, cast

from legacy_sync.errors import SettingsInvalid
from legacy_sync.settings import Settings
from legacy_sync.sources.base import Source
from legacy_sync.sources.four_d.source import create as create_four_d

GROUP = "legacy_sync.sources"

SourceFactory = Callable[[Settings, Mapping[str, Any] | None], Source]

_BUILT_IN: dict[str, SourceFactory] = {"four_d": create_four_d}


def open_source(kind: str, settings: Settings, options: Mapping[str, Any] | None = None) -> Source:
    """The source of that kind, not yet connected; raises SettingsInvalid for an unknown kind or option."""
    return _factory(kind)(settings, options)


def kinds() -> list[str]:
    """All kinds of sources that are installed."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def _factory(kind: str) -> SourceFactory:
    for point in entry_points(group=GROUP, name=kind):
        return cast(SourceFactory, point.load())
    if kind in _BUILT_IN:
        return _BUILT_IN[kind]
    raise SettingsInvalid(
        f'there is no source of the kind "{kind}"',
        where=f"entry point group {GROUP}",
        next_step=f"use one of: {', '.join(kinds())}; or install the package that brings it",
    )
