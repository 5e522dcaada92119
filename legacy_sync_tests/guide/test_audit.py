"""Does the audit fail where something is known, and say so where nobody can be asked?"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from legacy_sync_tests import audit

KNOWN = {
    "id": "GHSA-x",
    "summary": "bad",
    "details": "bad",
    "published": "2024-01-01T00:00:00Z",
    "modified": "2024-01-01T00:00:00Z",
    "aliases": ["CVE-1"],
    "affected": [
        {
            "package": {"name": "bad", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}


@contextmanager
def service() -> Iterator[str]:
    """What knows one vulnerability of the package "bad"."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            content = json.dumps({"vulns": [KNOWN]} if b'"bad"' in asked else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}/v1/query"
    http.shutdown()
    http.server_close()
    thread.join()


def test_findings_fail_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "constraints.txt").write_text("bad==1.0\ngood==1.0\n")
    with service() as url:
        assert audit.main(tmp_path / "constraints.txt", "--osv-url", url) == 1
    assert capsys.readouterr().out.splitlines() == [
        "bad 1.0: CVE-1, fixed in 2.0",
        "audited: 2 dependencies, 1 findings",
    ]


def test_a_service_that_cannot_be_reached_is_told_and_fails_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "constraints.txt").write_text("good==1.0\n")
    assert audit.main(tmp_path / "constraints.txt", "--osv-url", "http://127.0.0.1:1/") == 0
    assert capsys.readouterr().out.startswith("not audited: ")
