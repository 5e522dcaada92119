"""What has a channel to be told now? Pure: what was seen, what the channel knows, the rules and the time decide.

A situation is told once, again after `repeat` or when it grew, and once more when all has been right for `settle`.
What cannot be told now (pause between messages, channel away) is held and told with the next message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from legacy_sync.mapping.maintenance import find_end
from legacy_sync.mapping.notify_words import CountRule, Kind, Notifications, Rule
from legacy_sync.notify.memory import ChannelState, Notice
from legacy_sync.notify.situation import Name, Seen, Situation

Why = Literal["new", "again", "worse", "over"]


@dataclass(frozen=True)
class Item:
    """One thing to tell: a situation and why now, or one that is over."""

    why: Why
    notice: Notice
    situation: Situation | None


@dataclass(frozen=True)
class Decision:
    """What to tell, the weightiest first (nothing: no message); what the channel knows if it is, or is not, told."""

    items: tuple[Item, ...]
    others: int
    """situations that were told before and go on"""
    if_told: tuple[Notice, ...]
    if_not: tuple[Notice, ...]


def decide(state: ChannelState, seen: Seen, rules: Notifications, now: datetime, kinds: Collection[Kind]) -> Decision:
    """What a channel that is told of these `kinds` has to be told now."""
    wanted = {s.name: s for s in seen.situations if s.kind in kinds and rules.rules[s.kind].enabled}
    looked_at = {kind for kind in seen.kinds if kind in kinds and rules.rules[kind].enabled}
    muted = {kind for kind in rules.rules if kind not in kinds or not rules.rules[kind].enabled}
    notices = [n for n in _updated(state.notices, wanted, looked_at, now) if n.kind not in muted]
    is_quiet = find_end(rules.quiet, now) is not None
    due: dict[Name, Why] = {}
    for notice in notices:
        rule = rules.rules[notice.kind]
        why = _why(notice, rule, rules, now) if notice.kind in looked_at else None  # others may have ended unseen
        if why and (rule.urgent or not is_quiet):
            due[notice.name] = why
    held = tuple(replace(n, is_held=True) if n.name in due else n for n in notices)
    if not due or (state.sent_at is not None and now - state.sent_at < rules.pause):
        return Decision((), 0, held, held)
    items = [Item(due[n.name], n, wanted.get(n.name)) for n in notices if n.name in due]
    others = sum(n.told_at is not None and n.ended_at is None and n.name not in due for n in notices)
    return Decision(_by_weight(items), others, tuple(_told(notices, due, now)), held)


def _updated(
    notices: Iterable[Notice], wanted: dict[Name, Situation], looked_at: Collection[Kind], now: datetime
) -> list[Notice]:
    """The notices after this look. What ended before anybody had to be told is forgotten."""
    known = {notice.name: notice for notice in notices}
    found: list[Notice] = []
    for name, notice in known.items():
        if name in wanted:
            s = wanted[name]
            found.append(replace(notice, headline=s.headline, size=s.size, ended_at=None))
        elif notice.kind not in looked_at:
            found.append(notice)
        elif notice.told_at or notice.is_held:
            found.append(replace(notice, ended_at=notice.ended_at or now))
    new = [s for name, s in wanted.items() if name not in known]
    return [*found, *(Notice(s.kind, s.about, s.headline, s.since, s.size) for s in new)]


def _why(notice: Notice, rule: Rule, rules: Notifications, now: datetime) -> Why | None:
    if notice.ended_at is not None:
        return "over" if now - notice.ended_at >= rules.settle else None
    if notice.told_at is None:
        return "new" if notice.is_held or now - notice.since >= rule.after else None
    if isinstance(rule, CountRule) and notice.size >= notice.told_size * rule.grows:
        return "worse"
    return "again" if now - notice.told_at >= rule.repeat else None


def _told(notices: Iterable[Notice], due: dict[Name, Why], now: datetime) -> Iterable[Notice]:
    for notice in notices:
        why = due.get(notice.name)
        if why is None:
            yield notice
        elif why != "over":
            yield replace(notice, told_at=now, told_size=notice.size, is_held=False)


def _by_weight(items: Iterable[Item]) -> tuple[Item, ...]:
    """New ones first, in the order of the kinds; what is over comes last."""
    order: tuple[Why, ...] = ("new", "worse", "again", "over")
    kinds: tuple[Kind, ...] = (
        "sources", "guards", "runs", "dagster", "lag", "conflicts", "quarantine", "mappings", "unreached",
    )  # fmt: skip
    return tuple(sorted(items, key=lambda i: (order.index(i.why), kinds.index(i.notice.kind), i.notice.since)))
