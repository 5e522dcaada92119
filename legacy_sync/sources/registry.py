"""Which source is meant by a name of `mappings/sources/`? Kinds of sources are packages, found by entry point."""

from __future__ import annotations

from hashlib import blake2b
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from legacy_sync.errors import SettingsInvalid
from legacy_sync.mapping.source_files import GROUP, SourceSpec, list_kinds
from legacy_sync.mapping.source_words import DatabaseWords, FilesWords, FourDWords, RestWords, SourceWords
from legacy_sync.settings import Settings
from legacy_sync.sources.base import Source, SourceKind

if TYPE_CHECKING:
    from legacy_sync.sources.database import DatabaseSource
    from legacy_sync.sources.files.source import FilesSource
    from legacy_sync.sources.four_d.source import FourDSource
    from legacy_sync.sources.rest.source import RestSource


def open_source(spec: SourceSpec, settings: Settings) -> Source:
    """The source, not yet connected; raises SettingsInvalid for an unknown kind or options it cannot use."""
    return find_kind(spec.kind).open(spec, settings)


def landing_folder(spec: SourceSpec) -> str:
    """A name for the landing of a source that no other address shares."""
    return f"{spec.name}-{blake2b(spec.options.address.encode(), digest_size=4).hexdigest()}"


def find_kind(kind: str) -> SourceKind:
    """A kind that comes with this program, or one of another installed package."""
    if kind in _BUILT_IN:
        return _BUILT_IN[kind]
    for point in entry_points(group=GROUP, name=kind):
        return cast(SourceKind, point.load())
    raise SettingsInvalid(
        f'there is no source of the kind "{kind}"',
        where=f"entry point group {GROUP}",
        next_step=f"use one of: {', '.join(list_kinds())}; or install the package that brings it",
    )


# The libraries behind a source are loaded only by those who use it.


def _open_four_d(spec: SourceSpec, settings: Settings) -> FourDSource:
    from legacy_sync.sources.four_d.source import create

    said = spec.options.model_fields_set - {*SourceWords.model_fields}
    return create(settings, {word: getattr(spec.options, word) for word in said})


def _open_rest(spec: SourceSpec, _settings: Settings) -> RestSource:
    from legacy_sync.sources.rest.source import RestSource

    return RestSource(spec)


def _open_database(spec: SourceSpec, _settings: Settings) -> DatabaseSource:
    from legacy_sync.sources.database import DatabaseSource

    return DatabaseSource(spec)


def _open_files(spec: SourceSpec, _settings: Settings) -> FilesSource:
    from legacy_sync.sources.files.source import FilesSource

    return FilesSource(spec)


_BUILT_IN = {
    "four_d": SourceKind(FourDWords, _open_four_d),
    "rest": SourceKind(RestWords, _open_rest),
    "database": SourceKind(DatabaseWords, _open_database),
    "files": SourceKind(FilesWords, _open_files),
}
