"""How does the demo import through Dagster, and only load Dagster once? This process does, one order per line.

`{"environment": {…}}` sets variables; `{"materialize": "recent" | "full"}` materialises every asset and answers
`{"runs": […], "failed": …}`. Answers go to the standard output, everything that Dagster says to the standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

_RECENT = 2  # windows: the open one, and the one before for changes around its start


def main() -> None:
    """Answer orders until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import legacy_sync.definitions  # noqa: F401  # slow, so it loads while the servers start

    for line in sys.stdin:
        order = json.loads(line)
        os.environ.update(order.get("environment", {}))
        if "materialize" in order:
            print(json.dumps(_materialize(full=order["materialize"] == "full")), file=answers, flush=True)


def _materialize(*, full: bool) -> dict[str, Any]:
    """Runs the jobs that hold every asset, as the UI would."""
    import dagster as dg

    from legacy_sync.definitions import defs
    from legacy_sync.mapping.loader import load_project
    from legacy_sync.orchestration.jobs import list_jobs
    from legacy_sync.orchestration.layout import build_layout
    from legacy_sync.orchestration.waves import list_waves
    from legacy_sync.settings import read_settings

    layout = build_layout(load_project(read_settings()))
    jobs = {job.cut.label: job.name for job in list_jobs(layout) if job.group is None}
    definitions = defs()
    runs, failed = [], ""
    with dg.DagsterInstance.get() as instance:
        for wave in list_waves(layout):
            tables = dict.fromkeys(layout.table_of(mapping).key for mapping in wave.mappings)
            result = definitions.resolve_job_def(jobs[wave.label]).execute_in_process(
                instance=instance,
                asset_selection=layout.keys_of(wave.mappings),
                tags=_range_of(wave.partitioned, full),
                run_config=_config_of(list(tables), full),
                raise_on_error=False,
            )
            runs.append(result.run_id)
            if not result.success:
                failed = _why(result)
                break
    return {"runs": runs, "failed": failed}


def _config_of(keys: Sequence[Any], full: bool) -> dict[str, Any]:
    """What one would write in the launchpad to fetch every row, or only what has changed."""
    return {"ops": {"__".join(key.path): {"config": {"full": full}} for key in keys}}


def _range_of(mapping: Any, full: bool) -> dict[str, str]:
    """The tags of a run over all partitions, or over those that changes of today can lie in."""
    from legacy_sync.sync.windows import list_windows, today_of

    if mapping is None:
        return {}
    windows = list_windows(mapping, today_of(mapping, datetime.now(UTC)))
    is_by_day = mapping.partitions.type == "window"  # only then new rows lie in the last ones
    chosen = windows[-_RECENT:] if is_by_day and not full else windows
    return {
        "dagster/asset_partition_range_start": chosen[0].partition,
        "dagster/asset_partition_range_end": chosen[-1].partition,
    }


def _why(result: Any) -> str:
    texts = [event.event_specific_data.error for event in result.all_events if event.is_step_failure]
    return str(texts[0].message).strip() if texts and texts[0] else "a step failed"


if __name__ == "__main__":
    main()
