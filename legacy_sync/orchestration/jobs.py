"""Which jobs can be started by name? One per group and one for all, and the comparisons of both sides.

A job has one way of partitioning: Dagster refuses one over assets with different partitions. Tables without any go
along with others, so a group needs several jobs only where it is cut in several ways; each is then named after its
way. What needs no choice of partitions at all is `sync_everything` (`everything.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.checks import RECONCILIATION
from legacy_sync.orchestration.layout import Cut, Layout, erp_key

CUT_TAG = "legacy_sync/cut"


@dataclass(frozen=True)
class Job:
    """A job and the entities it runs."""

    name: str
    group: str | None
    cut: Cut


def list_jobs(layout: Layout) -> list[Job]:
    """`sync_<group>` and `sync_all`, each with `_by_month`, `_by_key`, … behind it where one job cannot hold all."""
    jobs = []
    for group in (*layout.groups, None):
        cuts = layout.cuts(group)
        base = f"sync_{group or 'all'}"
        jobs += [Job(base if len(cuts) == 1 else f"{base}_{cut.label}", group, cut) for cut in cuts]
    return jobs


def build_jobs(layout: Layout) -> list[Any]:
    """The jobs that sync, and `reconcile_<group>` and `reconcile_all`."""
    return [*(_sync(layout, job) for job in list_jobs(layout)), *_reconciliations(layout)]


def _sync(layout: Layout, job: Job) -> Any:
    names = ", ".join(m.entity for m in layout.with_units(job.cut.mappings))
    comparisons = _comparisons(layout, job.cut.mappings)
    return dg.define_asset_job(
        job.name,
        selection=dg.AssetSelection.assets(*layout.keys_of(job.cut.mappings)) - dg.AssetSelection.checks(*comparisons),
        description=f"Fetch and load {names}.",
        tags={CUT_TAG: job.cut.label},
    )


def _reconciliations(layout: Layout) -> list[Any]:
    jobs = []
    for group in (*layout.groups, None):
        chosen = [m for m in layout.project.mappings.values() if group in (None, m.group)]
        keys = _comparisons(layout, chosen)
        name = f"reconcile_{group or 'all'}"
        about = "Compare both sides, by keys or with `values: true` in all values; writes nothing."
        if keys:
            jobs.append(dg.define_asset_job(name, selection=dg.AssetSelection.checks(*keys), description=about))
    return jobs


def _comparisons(layout: Layout, mappings: Iterable[Mapping]) -> list[dg.AssetCheckKey]:
    return [dg.AssetCheckKey(erp_key(m.entity), RECONCILIATION) for m in layout.with_units(mappings)]
