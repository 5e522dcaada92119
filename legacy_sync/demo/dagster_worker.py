"""How does the demo import through Dagster, and only load Dagster once? This process does, one order per line.

`{"environment": {…}}` sets variables; `{"materialize": "recent" | "full"}` materialises every asset and answers
`{"runs": […], "failed": …}`. Answers go to the standard output, everything that Dagster says to the standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


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
    """Runs the job that brings everything, as one would in the UI."""
    import dagster as dg

    from legacy_sync.definitions import defs
    from legacy_sync.orchestration.everything import NAME

    with dg.DagsterInstance.get() as instance:
        result = (
            defs()
            .resolve_job_def(NAME)
            .execute_in_process(
                instance=instance,
                run_config={"ops": {"waves": {"config": {"full": full}}}},
                raise_on_error=False,
            )
        )
        return {"runs": [result.run_id], "failed": "" if result.success else _why(result)}


def _why(result: Any) -> str:
    texts = [event.event_specific_data.error for event in result.all_events if event.is_step_failure]
    return str(texts[0].message).strip() if texts and texts[0] else "a step failed"


if __name__ == "__main__":
    main()
