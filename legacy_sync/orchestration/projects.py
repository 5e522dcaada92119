"""Which mappings are in force now? Read anew only when a file or a variable has changed.

Dagster builds the definitions several times in every process, and reading 30 files takes most of that time.
"""

from hashlib import blake2b

from legacy_sync.mapping.loader import Project, load_project
from legacy_sync.settings import Settings

_last: list[tuple[Settings, str, Project]] = []
"""at most one: what was read, and from what"""


def read_project(settings: Settings) -> Project:
    """The same as `load_project`, which is asked only if something is not as it was."""
    digest = _digest(settings)
    if not _last or _last[0][:2] != (settings, digest):
        _last[:] = [(settings, digest, load_project(settings))]
    return _last[0][2]


def _digest(settings: Settings) -> str:
    """A hash of the contents of all files of the mappings folder."""
    digest = blake2b(digest_size=16)
    for file in sorted(settings.mappings.rglob("*")):
        if file.is_file():
            digest.update(f"{file}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
