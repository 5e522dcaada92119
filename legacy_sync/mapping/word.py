"""What have all words of the mapping language in common?"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Word(BaseModel):
    """Base of every word: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
