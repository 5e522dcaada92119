"""Can anybody else on the machine read what a run leaves? Not even where the umask would let everybody."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_setup import PARENTS, Cli

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.orchestration.kept import Kept, read_files
from legacy_sync.settings import PROJECT_ROOT, read_settings


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """Files and folders, `folder` among them, that others may read, write or enter."""
    found = [folder, *folder.rglob("*")]
    assert len(found) > 1
    return [str(path.relative_to(folder)) for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077]


@pytest.mark.usefixtures("no_umask")
def test_landing_and_sessions_are_private(cli: Cli, four_d: FourDServer, landing_root: str) -> None:
    four_d.sessions.login, four_d.sessions.users = "headers", {"sync": "x"}
    assert cli("run", PARENTS, LEGACY_API_USER="sync", LEGACY_API_PASSWORD="x").code in (0, 3)
    assert open_to_others(Path(landing_root)) == []
    assert open_to_others(Path(landing_root).parent / "sessions") == []


@pytest.mark.usefixtures("no_umask")
def test_kept_mappings_are_private(tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    settings = read_settings({"DAGSTER_HOME": str(home), "LEGACY_SYNC_MAPPINGS": str(PROJECT_ROOT / "mappings")})
    kept = Kept(settings)
    kept.confirm(kept.keep(read_files(settings)))
    assert open_to_others(home / "mappings_kept") == []


def test_a_folder_of_sessions_that_was_open_is_closed(cli: Cli, landing_root: str) -> None:
    sessions = Path(landing_root).parent / "sessions"
    sessions.mkdir()
    sessions.chmod(0o755)
    assert cli("run", PARENTS).code in (0, 3)
    assert open_to_others(sessions) == []


@pytest.mark.parametrize(
    ("table", "partition"),
    [
        ("../../etc", ".."),
        ("..", "../x"),
        (".", "/etc/passwd"),
        ("a/../../b", "\\..\\c"),
        ("%2e%2e", "x\x00y"),
        ("", ""),
    ],
)
def test_landing_paths_cannot_be_escaped(tmp_path: Path, table: str, partition: str) -> None:
    from datetime import UTC, datetime

    import pyarrow as pa

    from legacy_sync.sources.landing import Landing

    landing = Landing(str(tmp_path / "landing"), "../source")
    with landing.open_fetch(table, partition) as writer:
        writer.write(pa.RecordBatch.from_pydict({"a": [1]}))
        fetch = writer.commit(mode="full", server_time=datetime.now(UTC), rows=1, complete=True)
    assert [f.fetch_id for f in landing.fetches(table, partition)] == [fetch.fetch_id]
    assert landing.partitions(table) == [partition]
    assert [path.name for path in tmp_path.iterdir()] == ["landing"]
    ((source,),) = [list((tmp_path / "landing").iterdir())]
    assert [p for p in source.rglob("*") if not p.resolve().is_relative_to(source)] == []
    assert len(list(source.iterdir())) == 1
