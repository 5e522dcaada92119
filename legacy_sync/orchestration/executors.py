"""How many tables of a run are worked on at the same time? One after the other in one process, unless told otherwise.

A process per table costs about a second each to start, which is more than most tables need when little has changed
(docs/decisions/006). A run that has much to do may ask for several: `execution: {config: {processes: 2}}`.
"""

from typing import Any

import dagster as dg

_PRELOADED = ["legacy_sync.orchestration.build", "legacy_sync.sync.pipeline"]


def _choose(config: dict[str, Any]) -> dict[str, Any]:
    if config["processes"] == 1:
        return {"in_process": {}}
    start = {"forkserver": {"preload_modules": _PRELOADED}}
    return {"multiprocess": {"max_concurrent": config["processes"], "start_method": start}}


executor = dg.multi_or_in_process_executor.configured(
    _choose,
    name="processes",
    config_schema={
        "processes": dg.Field(
            int,
            default_value=1,
            description="tables worked on at the same time; 1: one after the other, without processes of their own",
        )
    },
    description="One process by default; with `processes: 2` and more, independent tables side by side.",
)
