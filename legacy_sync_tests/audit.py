"""Are vulnerabilities known of the pinned dependencies? Fails on findings; says so where nobody could be asked."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
_SECONDS = 90
_ASKED = [
    "--no-deps",
    "--disable-pip",
    "--vulnerability-service",
    "osv",
    "--format",
    "json",
    "--progress-spinner",
    "off",
]


def main(constraints: Path = CONSTRAINTS, *more: str) -> int:
    """0: nothing is known, or nobody could be asked; 1: findings, each with the version that ends it."""
    program = str(Path(sysconfig.get_path("scripts")) / "pip-audit")
    command = [program, "--requirement", str(constraints), "--timeout", "5", *_ASKED, *more]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return _not_audited(f"no answer within {_SECONDS} s")
    try:
        dependencies = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        return _not_audited((asked.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:200])
    findings = [(found, vuln) for found in dependencies for vuln in found.get("vulns", ())]
    for found, vuln in findings:
        print(f"{found['name']} {found['version']}: {vuln['id']}, {_ended_by(vuln)}")
    print(f"audited: {len(dependencies)} dependencies, {len(findings)} findings")
    return 1 if findings else 0


def _ended_by(vuln: dict[str, Any]) -> str:
    return "fixed in " + ", ".join(vuln["fix_versions"]) if vuln.get("fix_versions") else "not fixed yet"


def _not_audited(reason: str) -> int:
    print(f"not audited: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2]), *sys.argv[2:]))
