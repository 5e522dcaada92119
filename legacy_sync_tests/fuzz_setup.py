"""How long do the fuzz tests go on? A few seconds each; FUZZ_EXAMPLES=5000 lets them look further and elsewhere."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings

_WANTED = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def fuzzed(examples: int, *, shrink: bool = True) -> Callable[[Any], Any]:
    """So many examples, the same in every run; with FUZZ_EXAMPLES that many, and others each time.

    Where an example takes long, or changes what the next one finds, `shrink` it no further.
    """
    return settings(
        max_examples=_WANTED or examples,
        derandomize=not _WANTED,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, *((Phase.shrink,) if shrink else ())),
        suppress_health_check=list(HealthCheck),
    )
