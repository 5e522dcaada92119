"""Which files hold a table right now, and which are not finished yet?

A file that is still being written must neither be read nor make the table look empty: it is left for later.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import fsspec.core

from legacy_sync.errors import SettingsInvalid, SourceRefused, SourceUnavailable
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.mapping.source_words import FilesTable, FilesWords
from legacy_sync.settings import mask_url

logger = logging.getLogger(__name__)

_UNFINISHED = re.compile(r"(^\.|^~|\.(part|partial|tmp|temp|crdownload|filepart|swp|bak|lock)$|~$)", re.IGNORECASE)
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_IDENTITIES = ("ino", "ETag", "etag", "md5Hash")
"""words of the file systems fsspec knows"""


@dataclass(frozen=True)
class FoundFile:
    """One file as it was when it was found; `modified` is None where the place does not tell."""

    path: str
    shown: str
    size: int
    modified: float | None
    identity: object = None

    @property
    def day(self) -> datetime | None:
        """When it was written."""
        return None if self.modified is None else datetime.fromtimestamp(self.modified, UTC)


@dataclass
class Choice:
    """The files to read, oldest first, and what was left for later and why."""

    files: list[FoundFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_whole: bool = True
    """whether nothing that belongs to the table was left for later"""


class Folder:
    """The folder of a source, local or any place that fsspec can reach."""

    def __init__(self, spec: SourceSpec) -> None:
        words = cast(FilesWords, spec.options)
        if not words.folder:
            raise SettingsInvalid(
                f"the source {spec.name} has no folder", where=spec.place, next_step=spec.how_to_set("folder")
            )
        self._spec, self._words = spec, words
        try:
            self._files, self._root = fsspec.core.url_to_fs(words.folder)
        except (ImportError, ValueError) as error:
            raise SettingsInvalid(
                f"the folder of the source {spec.name} cannot be reached: {mask_url(str(error))}",
                where=spec.place,
                next_step=spec.how_to_set("folder"),
            ) from error

    @property
    def where(self) -> str:
        """The folder, for messages."""
        return f"source {self._spec.name}, folder {mask_url(self._words.folder)}"

    def choose(self, name: str, table: FilesTable) -> Choice:
        """The files of a table; raises SourceUnavailable if none of them can be read yet."""
        with self.reachable():
            found = self._find(table)
            markers = self._markers(found, table)
        choice, candidates = Choice(), []
        for file in found:
            if reason := self._is_never_read(file, table, markers):
                choice.notes.append(f"{file.shown} is left for later: {reason}")
            else:
                candidates.append(file)
        candidates.sort(key=lambda file: (file.modified or 0.0, file.path))
        if table.which == "newest":
            candidates = candidates[-1:]
        for file in candidates:
            if reason := self._is_unfinished(file, table, markers):
                choice.notes.append(f"{file.shown} is left for later: {reason}")
            else:
                choice.files.append(file)
        choice.is_whole = table.which == "newest" or not choice.notes
        for note in choice.notes:
            logger.info("%s: %s", self.where, note)
        if not choice.files:
            raise self._nothing_there(name, table, choice)
        return choice

    @contextmanager
    def opened(self, file: FoundFile) -> Iterator[Any]:
        """The bytes of a file; raises SourceUnavailable if it is written to meanwhile."""
        with self.reachable(), self._files.open(file.path, "rb") as stream:
            yield stream
            now = self._look_at(file.path)
        if now is None or (now.size, now.modified, now.identity) != (file.size, file.modified, file.identity):
            raise SourceUnavailable(
                f"{file.shown} changed while it was read; none of it was taken",
                where=self.where,
                next_step="run again when it is finished",
            )

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """Turns what a file system may say into our errors."""
        try:
            yield
        except PermissionError as error:
            raise SourceRefused(
                f"the folder may not be read: {error.strerror or error}",
                where=self.where,
                next_step="give us the right",
            ) from error
        except OSError as error:
            raise SourceUnavailable(
                f"the folder cannot be read: {error.strerror or error}",
                where=self.where,
                next_step=f"check that it is there, then run again; else {self._spec.how_to_set('folder')}",
            ) from error

    def _find(self, table: FilesTable) -> list[FoundFile]:
        if not self._files.isdir(self._root):
            raise SourceUnavailable(
                "the folder is not there", where=self.where, next_step=self._spec.how_to_set("folder")
            )
        paths = self._files.glob(f"{_without_magic(self._root)}/{table.files}")
        names = [str(path) for path in paths if not (table.ready_marker and str(path).endswith(table.ready_marker))]
        return [file for path in names if (file := self._look_at(path)) is not None]

    def _look_at(self, path: str) -> FoundFile | None:
        try:
            self._files.invalidate_cache(path)
            info = self._files.info(path)
        except FileNotFoundError:
            return None
        if info.get("type") != "file":
            return None
        told = next((info[name] for name in _TIMES if name in info), None)
        modified = told.timestamp() if isinstance(told, datetime) else told
        identity = next((info[name] for name in _IDENTITIES if name in info), None)
        shown = path.removeprefix(self._root).lstrip("/")
        return FoundFile(path, shown, int(info["size"] or 0), None if modified is None else float(modified), identity)

    def _markers(self, found: list[FoundFile], table: FilesTable) -> dict[str, FoundFile]:
        """The files that say of others that they are finished, by the path of those."""
        if not table.ready_marker:
            return {}
        markers = {file.path: self._look_at(file.path + table.ready_marker) for file in found}
        return {path: marker for path, marker in markers.items() if marker}

    def _is_never_read(self, file: FoundFile, table: FilesTable, markers: dict[str, FoundFile]) -> str | None:
        """Why a file is as if it were not there: it has another name when it is finished."""
        name = file.path.rsplit("/", 1)[-1]
        if _UNFINISHED.search(name):
            return "its name says that it is not finished"
        if table.ready_marker and file.path not in markers:
            return f"{name}{table.ready_marker} is not there yet"
        return None

    def _is_unfinished(self, file: FoundFile, table: FilesTable, markers: dict[str, FoundFile]) -> str | None:
        """Why the contents of a file cannot be believed yet; older files must not stand in for it."""
        if file.size == 0:
            return "it is empty"
        marker = markers.get(file.path)
        if marker and file.modified and marker.modified and marker.modified < file.modified:
            return "it changed after it was marked as finished"
        age = time.time() - file.modified if file.modified is not None else None
        if age is not None and age < self._words.settle_seconds:
            return f"it changed {max(age, 0):.0f} s ago"
        return None

    def _nothing_there(self, name: str, table: FilesTable, choice: Choice) -> SourceUnavailable:
        if not choice.notes:
            what = f'there is no file "{table.files}" for the table "{name}" yet'
            return SourceUnavailable(what, where=self.where, next_step="run again when it has arrived")
        return SourceUnavailable(
            f'no file for the table "{name}" can be read yet: {"; ".join(choice.notes)}',
            where=self.where,
            next_step="run again when it is finished",
        )


def _without_magic(path: str) -> str:
    """A folder's own name may hold signs that mean something in a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", path.rstrip("/"))
