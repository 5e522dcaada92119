"""Do `demo` and `up` work on a bare machine, and does nothing of them stay when they end, however they end?"""

import signal
import socket
import subprocess
import urllib.request

import psutil
import pytest
from cli_setup import PARENTS, READY, Cli, all_gone_afterwards, family_of, read_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def cut_off(cli: Cli, number: signal.Signals) -> int:
    """Starts a demo, ends it in the first import, and returns its exit code."""
    process = cli.start("demo", "--small")
    read_until(process, "First import")
    with all_gone_afterwards(process, cli.folder):
        process.send_signal(number)
    return process.returncode


def test_an_interrupted_demo_stops_its_servers(bare_cli: Cli) -> None:
    assert cut_off(bare_cli, signal.SIGINT) == 130


def test_a_killed_demo_can_be_started_again_and_leaves_something_to_look_at(bare_cli: Cli) -> None:
    bare_cli.environment = {"ERP_DATABASE_URL": "postgresql://never:used@127.0.0.1:1/erp"}
    assert cut_off(bare_cli, signal.SIGKILL) == -signal.SIGKILL
    said = bare_cli.run("demo", "--small")
    assert said.code == 0, said.out + said.err
    assert said.out.count("  true  ") == 9
    assert "FALSE" not in said.out
    bare_cli.environment = {}
    assert [c["column_name"] for c in bare_cli("conflicts", "list", "--json").json["conflicts"]] == ["name_en"]
    assert PARENTS in [e["entity"] for e in bare_cli("status", "--json").json["entities"]]
    assert bare_cli("run").code == 2  # the database is there, 4D is not
    ours = [bare_cli.folder / ".legacy_sync", *(bare_cli.folder / ".legacy_sync").rglob("*")]
    assert [str(path) for path in ours if path.lstat().st_mode & 0o077] == []


def listening_elsewhere(process: subprocess.Popen[str], cli: Cli) -> set[str]:
    """Addresses beyond this machine on which a program of the demo listens."""
    sockets = [s for program in family_of(process, cli.folder) for s in program.net_connections("inet")]
    addresses = {s.laddr.ip.removeprefix("::ffff:") for s in sockets if s.status == psutil.CONN_LISTEN}
    assert addresses
    return addresses - {"127.0.0.1", "::1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_up_answers_and_takes_everything_with_it(bare_cli: Cli, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = bare_cli.start("up", "--small", "--port", str(port))
        said = read_until(process, READY)
    assert f"port {port} is taken" in said
    url = next(line.split()[1] for line in said.splitlines() if line.startswith("Dagster"))
    with urllib.request.urlopen(f"{url}/server_info") as reply:
        assert reply.status == 200
    assert listening_elsewhere(process, bare_cli) == set()
    with all_gone_afterwards(process, bare_cli.folder):
        again = bare_cli("up")
        assert again.code == 1
        assert f"run already at {url}" in again.err
        assert bare_cli("run", "--json").code == 3
        process.send_signal(number)
    assert process.returncode == (-number if number == signal.SIGKILL else 0)
