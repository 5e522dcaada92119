"""Can a person start the stand-in from the command line and break it with curl?"""

import subprocess
import sys

import requests


def test_command_serves_sample_data_with_faults_and_a_days_work() -> None:
    options = ["--port", "0", "--families", "40", "--variants", "110", "--faults", "http_503:table=Artikel_Familie"]
    command = [sys.executable, "-m", "legacy_sync.demo.four_d_server", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split(" at ")[1].removesuffix("/rest, admin desk")
            assert requests.get(f"{url}/rest/Artikel_Familie", timeout=5).status_code == 503
            assert requests.get(f"{url}/rest/Artikel_Variante", timeout=5).json()["__COUNT"] == 110
            done = requests.post(f"{url}/__admin/actions/change_some", json={"seed": 1}, timeout=5).json()
            assert len(done["inserted"]["Artikel_Variante"]) == 4
            assert requests.get(f"{url}/rest/Artikel_Variante", timeout=5).json()["__COUNT"] == 114
        finally:
            process.terminate()
