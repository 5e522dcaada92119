"""How does a short run start fast? By not importing what it never uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


class _NoPandas:
    """An import hook that says there is no pandas."""

    @staticmethod
    def find_spec(name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """Refuse pandas, leave the rest to others."""
        if name == "pandas":
            raise ImportError("pandas is not wanted here")
        return None


def spare_pandas() -> None:
    """Lets pyarrow believe, for this process, that pandas is not installed.

    pyarrow looks for pandas when it makes its first array, and importing it takes longer than an incremental
    run. Only for processes that never hand a frame to pyarrow, such as the command line.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
