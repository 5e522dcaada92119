"""How many licences does the sync take, however many processes it runs in?"""

import stat
import subprocess
import sys
from pathlib import Path

from legacy_sync.demo.four_d_server import FourDServer

PROGRAM = """
import sys
from legacy_sync.mapping.source_files import four_d_spec
from legacy_sync.settings import read_settings
from legacy_sync.sources.registry import open_source
settings = read_settings({"LEGACY_API_URL": sys.argv[1], "LEGACY_SYNC_LANDING": sys.argv[2] + "/landing"})
print(open_source(four_d_spec(), settings).probe("Artikel_Familie", None, None).count)
"""


def start_probe(server: FourDServer, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, server.url, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_one_after_the_other_share_a_session(four_d: FourDServer, tmp_path: Path):
    for _ in range(3):
        assert start_probe(four_d, tmp_path).communicate(timeout=60)[0].strip() == "40"
    assert four_d.sessions.licences_used == 1


def test_processes_that_start_together_share_a_session(four_d: FourDServer, tmp_path: Path):
    probes = [start_probe(four_d, tmp_path) for _ in range(3)]
    assert [p.communicate(timeout=60)[0].strip() for p in probes] == ["40"] * 3
    assert four_d.sessions.licences_used == 1


def test_session_that_ended_is_replaced_for_all(four_d: FourDServer, tmp_path: Path):
    start_probe(four_d, tmp_path).communicate(timeout=60)
    four_d.sessions.expire_all()
    for _ in range(2):
        start_probe(four_d, tmp_path).communicate(timeout=60)
    assert four_d.sessions.licences_used == 1


def test_session_file_is_private(four_d: FourDServer, tmp_path: Path):
    start_probe(four_d, tmp_path).communicate(timeout=60)
    (file,) = (tmp_path / "sessions").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_damaged_session_file_only_costs_a_session(four_d: FourDServer, tmp_path: Path):
    start_probe(four_d, tmp_path).communicate(timeout=60)
    (file,) = (tmp_path / "sessions").glob("*.json")
    file.write_text("{half")
    assert start_probe(four_d, tmp_path).communicate(timeout=60)[0].strip() == "40"
