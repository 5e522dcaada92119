"""What the tests of the mapping language share: a folder of mapping files, loaded or refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from legacy_sync.errors import MappingInvalid, Problem
from legacy_sync.mapping.loader import Project, load_project
from legacy_sync.settings import Settings

LoadProject = Callable[..., Project]
FindProblems = Callable[..., list[Problem]]

settings.register_profile("busy_machine", deadline=None)  # other workers may hold the cores for a second
settings.load_profile("busy_machine")


@pytest.fixture
def project_of(tmp_path: Path) -> LoadProject:
    """Writes the files into a mappings folder and loads it."""

    def load(files: dict[str, str | bytes], environment: str = "dev", **variables: str) -> Project:
        folder = tmp_path / "mappings"
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_project(Settings(environment, folder, str(tmp_path / "landing"), values=variables))

    return load


@pytest.fixture
def problems_of(project_of: LoadProject) -> FindProblems:
    """Writes the files into a mappings folder and returns why it is refused; [] if it is not."""

    def find(files: dict[str, str | bytes], environment: str = "dev", **variables: str) -> list[Problem]:
        try:
            project_of(files, environment, **variables)
        except MappingInvalid as error:
            return list(error.problems)
        return []

    return find
