"""Which jobs can be started by name? One per group and one for all, and the comparisons of both sides.

A Dagster job has one way of partitioning; a group with several gets one job for each, named after it.
"""

from dataclasses import dataclass
from typing import Any

import dagster as dg

from legacy_sync.orchestration.checks import RECONCILIATION
from legacy_sync.orchestration.layout import Layout, Unit, erp_key


@dataclass(frozen=True)
class Job:
    """A job and the entities it runs."""

    name: str
    group: str | None
    unit: Unit


def list_jobs(layout: Layout) -> list[Job]:
    """`sync_<group>` and `sync_all`, each with `_by_month`, `_by_key`, … behind it where one job cannot hold all."""
    jobs = []
    for group in (*layout.groups, None):
        units = layout.units(group)
        base = f"sync_{group or 'all'}"
        jobs += [Job(base if len(units) == 1 else f"{base}_{unit.label}", group, unit) for unit in units]
    return jobs


def build_jobs(layout: Layout) -> list[Any]:
    """The jobs that sync, and `reconcile_<group>` and `reconcile_all`."""
    return [*(_sync(layout, job) for job in list_jobs(layout)), *_reconciliations(layout)]


def _sync(layout: Layout, job: Job) -> Any:
    names = ", ".join(m.entity for m in job.unit.mappings)
    comparisons = [dg.AssetCheckKey(erp_key(m.entity), RECONCILIATION) for m in job.unit.mappings]
    return dg.define_asset_job(
        job.name,
        selection=dg.AssetSelection.assets(*layout.keys_of(job.unit.mappings)) - dg.AssetSelection.checks(*comparisons),
        description=f"Fetch and load {names}.",
        tags={"legacy_sync/unit": job.unit.label},
    )


def _reconciliations(layout: Layout) -> list[Any]:
    jobs = []
    for group in (*layout.groups, None):
        chosen = [m for m in layout.project.mappings.values() if group in (None, m.group)]
        keys = [dg.AssetCheckKey(erp_key(m.entity), RECONCILIATION) for m in chosen]
        name = f"reconcile_{group or 'all'}"
        about = "Compare the keys of both sides; writes nothing."
        jobs.append(dg.define_asset_job(name, selection=dg.AssetSelection.checks(*keys), description=about))
    return jobs
