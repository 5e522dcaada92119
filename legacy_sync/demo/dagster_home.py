"""How does Dagster run beside the demo? Its home, its settings and the variables its processes need."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from legacy_sync.demo.state import DemoFolder, Servers, write_private
from legacy_sync.demo.web_services.beside import VARIABLES
from legacy_sync.settings import PROJECT_ROOT

CODE_LOCATION = "legacy_sync.definitions"
_TEMPLATE = PROJECT_ROOT / "deploy" / "dagster.yaml"
# A run over N partitions writes 2 N events; without this each has a transaction of its own.
_FEWER_TRANSACTIONS = {"DAGSTER_EVENT_BATCH_SIZE": "100"}
_OURS = ("LEGACY_API_URL", "LEGACY_API_USER", "LEGACY_API_PASSWORD", "ERP_DATABASE_URL", "LEGACY_SYNC_ENV",
         "LEGACY_SYNC_MAPPINGS", "LEGACY_SYNC_LANDING", "LEGACY_SYNC_NOTIFY", "LEGACY_SYNC_HEARTBEAT",
         "DAGSTER_HOME")  # fmt: skip


def write_dagster_yaml(folder: DemoFolder, servers: Servers) -> None:
    """The settings of production, with the demo's database written in; they hold a password."""
    url = urlsplit(servers.dagster_url)
    values = {
        "HOST": url.hostname,
        "PORT": url.port,
        "USER": url.username,
        "PASSWORD": unquote(url.password or ""),
        "DB": url.path.lstrip("/"),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{env: DAGSTER_PG_{name}}}", json.dumps(value))
    write_private(folder.dagster / "dagster.yaml", text)


def write_workspace(folder: DemoFolder, port: int) -> Path:
    """Where the web server and the daemon find the code server."""
    server = {"host": "127.0.0.1", "port": port, "location_name": CODE_LOCATION}
    file = folder.dagster / "workspace.yaml"
    write_private(file, json.dumps({"load_from": [{"grpc_server": server}]}))
    return file


def environment_of(folder: DemoFolder, servers: Servers, *, closed: bool) -> dict[str, str]:
    """The variables for a child: the demo's servers where nothing else is set.

    `closed` ignores what the user has set, so that the demo can never write to a real ERP.
    """
    inherited: Mapping[str, str] = os.environ
    if closed:
        inherited = {name: value for name, value in os.environ.items() if name not in {*_OURS, *VARIABLES}}
    ours = {
        "ERP_DATABASE_URL": servers.erp_url,
        "LEGACY_API_URL": servers.api_url or "",
        "LEGACY_SYNC_LANDING": str(folder.landing),
        **servers.services,
    }
    chosen = {name: inherited.get(name) or value for name, value in ours.items()}
    dagster = {"DAGSTER_HOME": str(folder.dagster), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    return {**_FEWER_TRANSACTIONS, **inherited, **chosen, **dagster}
