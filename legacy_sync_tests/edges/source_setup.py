"""What do the tests of sources share? A source from the words of its file, and all rows of one of its tables."""

from pathlib import Path
from typing import Any

from legacy_sync.mapping.source_files import SourceSpec, find_words
from legacy_sync.settings import Settings
from legacy_sync.sources.base import Scope, Source
from legacy_sync.sources.registry import open_source

PLACE = "mappings/sources/example.yaml"


def spec_of(words: dict[str, Any], variables: dict[str, str] | None = None) -> SourceSpec:
    """What the loader would make of a source file with these words."""
    model = find_words(words["type"])
    assert model is not None
    return SourceSpec("example", model.model_validate(words), PLACE, variables or {})


def source_of(words: dict[str, Any], variables: dict[str, str] | None = None) -> Source:
    """The source, not yet connected."""
    return open_source(spec_of(words, variables), Settings("test", Path(), ""))


def read_all(source: Source, table: str, **scope: Any) -> tuple[list[dict[str, Any]], Any]:
    """All rows of a scope, and the finished fetch."""
    fetch = source.fetch(Scope(table, **scope))
    return [row for batch in fetch for row in batch.to_pylist()], fetch
