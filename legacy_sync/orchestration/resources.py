"""Where are the two ends? What a run needs to reach the legacy server and pyERP's database.

Every value left empty comes from the environment by way of `settings.py`, so that environment variables
alone point everything at other servers. Secrets are best left empty: then no run config ever holds them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
from pydantic import Field

from legacy_sync.mapping.loader import Project
from legacy_sync.settings import read_settings
from legacy_sync.sources.under_way import cut_off_by_signals
from legacy_sync.sync.pipeline import Workspace, open_workspace


class LegacyApi(dg.ConfigurableResource[None]):
    """The 4D REST server."""

    url: str | None = Field(default=None, description="base URL; empty: LEGACY_API_URL")
    user: str | None = Field(default=None, description="API user; empty: LEGACY_API_USER")
    password: str | None = Field(default=None, repr=False, description="empty: LEGACY_API_PASSWORD")


class ErpDatabase(dg.ConfigurableResource[None]):
    """pyERP's PostgreSQL."""

    url: str | None = Field(default=None, repr=False, description="database URL; empty: ERP_DATABASE_URL")


@contextmanager
def opened(project: Project, legacy_api: LegacyApi, erp_database: ErpDatabase) -> Iterator[Workspace]:
    """A workspace over both ends; nothing is contacted before it is used."""
    settings = read_settings()
    workspace = open_workspace(
        replace(
            settings,
            api_url=legacy_api.url or settings.api_url,
            api_user=legacy_api.user or settings.api_user,
            api_password=legacy_api.password or settings.api_password,
            erp_url=erp_database.url or settings.erp_url,
        ),
        project,
    )
    try:
        with cut_off_by_signals():
            yield workspace
    finally:
        workspace.close()
