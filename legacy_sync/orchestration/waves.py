"""In which order do jobs bring everything, parents first?

A Dagster run has one way of cutting, but tables depend on each other across these ways. A wave is as much of one
way as can run at once; the next wave needs what the waves before it have brought.
"""

from collections.abc import Iterable

from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.layout import Cut, Layout


def list_waves(layout: Layout) -> list[Cut]:
    """Parts of the layout's cuts, so that every entity comes after those it depends on; few of them."""
    cuts = layout.cuts()
    remaining = [[m.entity for m in unit] for unit in layout.units]
    done: set[str] = set()
    waves = []
    while remaining:
        ready = {cut.label: _ready(layout, cut, remaining, done) for cut in cuts}
        best = max(cuts, key=lambda cut: len(ready[cut.label]))
        chosen = ready[best.label]
        waves.append(layout.part_of(best, [layout.project.get(name) for name in chosen]))
        done |= chosen
        remaining = [unit for unit in remaining if not chosen.issuperset(unit)]
    return waves


def _ready(layout: Layout, cut: Cut, remaining: Iterable[list[str]], done: set[str]) -> set[str]:
    """What of a cut can run in one go after what is done."""
    members = _names(cut.mappings)
    chosen: set[str] = set()
    for unit in remaining:  # in the order of their dependencies
        needed = {name for entity in unit for name in layout.dependencies[entity]} - set(unit)
        if members.issuperset(unit) and needed <= done | chosen:
            chosen.update(unit)
    return chosen


def _names(mappings: Iterable[Mapping]) -> set[str]:
    return {mapping.entity for mapping in mappings}
