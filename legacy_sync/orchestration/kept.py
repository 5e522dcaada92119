"""Which version of the mapping files does a process use? The newest good one; a run the one it was planned with.

Every version is copied to `$DAGSTER_HOME/mappings_kept/` before it is used and never changed there. What lies in the
mappings folder may be half an edit at any moment; a process that starts just then takes the last version that loaded.
"""

import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import dagster as dg
from dagster._check import CheckError

from legacy_sync.errors import AbortRun
from legacy_sync.mapping.loader import list_files
from legacy_sync.orchestration.build import build_definitions
from legacy_sync.settings import Settings

logger = logging.getLogger(__name__)

BROKEN = (AbortRun, dg.DagsterError, CheckError, OSError)
"""what files that cannot be used raise: our loader, Dagster, the operating system"""

_ROOT = "mappings_kept"
_NEWEST = "newest"
_KEEP_SECONDS = 7 * 24 * 3600.0

Files = dict[str, bytes]


@dataclass(frozen=True)
class Version:
    """The mapping files as they were at one moment, and the settings that read exactly these."""

    name: str
    settings: Settings = field(repr=False)
    since: datetime


def read_files(settings: Settings) -> Files:
    """Contents by the path below the mappings folder; raises OSError for what cannot be read."""
    files = list_files(settings.mappings)
    return {file.relative_to(settings.mappings).as_posix(): file.read_bytes() for file in files}


def name_of(files: Files) -> str:
    """A hash of all paths and contents."""
    digest = blake2b(digest_size=10)
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def check(version: Version) -> None:
    """Raises one of BROKEN unless Dagster can load everything these files say."""
    build_definitions(version.settings).get_repository_def().load_all_definitions()


class Kept:
    """The versions of one mappings folder in one environment; without DAGSTER_HOME nothing is kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder: Path | None = None
        if settings.dagster_home:
            place = f"{settings.mappings.absolute()}\0{settings.environment}".encode()
            self.folder = settings.dagster_home / _ROOT / blake2b(place, digest_size=6).hexdigest()

    def keep(self, files: Files) -> Version:
        """A copy of these files, unchecked; where there is no room for it, the folder itself."""
        name = name_of(files)
        if self.folder:
            try:
                return self.find(name) or self._copy(self.folder, name, files)
            except OSError as error:
                logger.warning("the mapping files are not kept in %s, so a broken edit stops runs: %s", _ROOT, error)
        return Version(name, self.settings, datetime.now(UTC))

    def find(self, name: str) -> Version | None:
        """A kept version, if it is there and as it was."""
        if self.folder is None or not name:
            return None
        settings = replace(self.settings, mappings=self.folder / name / self.settings.mappings.name)
        if not settings.mappings.is_dir() or name_of(read_files(settings)) != name:
            return None
        os.utime(self.folder / name)  # in use
        return _version(name, settings)

    def newest(self) -> Version | None:
        """The last version that was found good."""
        pointer = self.folder / _NEWEST if self.folder else None
        return self.find(pointer.read_text().strip()) if pointer and pointer.is_file() else None

    def is_newest(self, version: Version) -> bool:
        """Whether it was the last one found good, so that it need not be checked again."""
        pointer = self.folder / _NEWEST if self.folder else None
        return bool(pointer and pointer.is_file() and pointer.read_text().strip() == version.name)

    def confirm(self, version: Version) -> None:
        """From now on this is the last good version; those that nobody has used for a week go."""
        if self.folder is None or not self.folder.is_dir():
            return
        aside = self.folder / f"{_NEWEST}.{os.getpid()}"
        _write(aside, version.name.encode())
        aside.replace(self.folder / _NEWEST)
        for folder in self.folder.iterdir():
            is_unused = time.time() - folder.stat().st_mtime > _KEEP_SECONDS
            if folder.is_dir() and folder.name != version.name and is_unused:
                shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, root: Path, name: str, files: Files) -> Version:
        """Written aside, then renamed, so that nobody ever sees a part."""
        root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=root, prefix="aside_"))
        target = aside / self.settings.mappings.name
        target.mkdir(mode=0o700)
        for path, content in files.items():
            (target / path).parent.mkdir(mode=0o700, exist_ok=True)
            _write(target / path, content)
        if (root / name).exists():  # damaged, or another process was faster
            shutil.rmtree(root / name)
        aside.rename(root / name)
        return _version(name, replace(self.settings, mappings=root / name / target.name))


def _write(file: Path, content: bytes) -> None:
    """Readable by nobody else, whatever the umask is."""
    with open(file, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as opened:
        opened.write(content)


def _version(name: str, settings: Settings) -> Version:
    return Version(name, settings, datetime.fromtimestamp(settings.mappings.stat().st_mtime, UTC))


def choose_version(settings: Settings, planned: str = "") -> Version:
    """The version of a run's plan if it is still kept, else the files as they are, else the last good ones.

    Raises what is wrong with the files if there never was a good version.
    """
    kept = Kept(settings)
    if found := kept.find(planned):
        return found
    try:
        version = kept.keep(read_files(settings))
        if not kept.is_newest(version):
            check(version)
            kept.confirm(version)
        return version
    except BROKEN as error:
        good = kept.newest()
        if good is None:
            raise
        logger.warning("%s\n%s", error, say_in_force(good))
        return good


def say_in_force(version: Version) -> str:
    """What is used meanwhile."""
    return f"nothing has changed: the mappings of {version.since:%Y-%m-%d %H:%M} UTC stay in force ({version.name})"
