"""How many tables of a run are worked on at the same time? One after the other in one process, unless told otherwise.

Every table would cost a process of its own, whose start takes longer than most tables need (docs/decisions/006).
Where cores are idle and tables large, a run may ask for several: `execution: {config: {processes: 4}}`.
"""

from typing import Any

import dagster as dg


def _choose(config: dict[str, Any]) -> dict[str, Any]:
    if config["processes"] == 1:
        return {"in_process": {}}
    return {"multiprocess": {"max_concurrent": config["processes"], "start_method": {"forkserver": {}}}}


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
