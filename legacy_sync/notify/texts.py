"""In which words? A subject with the essence and a few lines that can be read on a phone; never a secret."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from legacy_sync.mapping.notify_words import Kind, Notifications
from legacy_sync.notify.decide import Decision, Item
from legacy_sync.notify.masking import Mask
from legacy_sync.notify.situation import Situation

_MOST_BLOCKS = 3
_MOST_ENDED = 4
_MOST_NAMES = 4
_LONGEST_LINE = 240
_PREFIX = {"new": "", "worse": "grown: ", "again": "still: ", "over": "over: "}
_MANY: dict[Kind, str] = {
    "runs": "{n} entities failed",
    "guards": "guards stopped {n} entities",
    "sources": "{n} sources are away",
    "lag": "{n} entities are behind",
    "dagster": "{n} parts of Dagster stand still or fail",
    "unreached": "{n} channels cannot be reached",
}


@dataclass(frozen=True)
class Message:
    """What is sent."""

    subject: str
    body: str


def write_message(decision: Decision, rules: Notifications, name: str, mask: Mask, now: datetime) -> Message:
    """The decided items as one message."""
    words = _Words(rules, ZoneInfo(rules.timezone), now)
    bad = [item for item in decision.items if item.situation]
    over = [item for item in decision.items if not item.situation]
    groups = _groups(bad)
    subject = words.subject(groups, over)
    lines = [line for group in groups[:_MOST_BLOCKS] for line in words.block(group)]
    if len(groups) > _MOST_BLOCKS:
        lines.append(f"and {len(groups) - _MOST_BLOCKS} more: `legacy-sync notify --dry-run` lists all")
    lines += [words.ended(item) for item in over[:_MOST_ENDED]]
    if len(over) > _MOST_ENDED:
        lines.append(f"and {len(over) - _MOST_ENDED} more are over")
    if decision.others:
        lines.append(f"{decision.others} told before still {'lasts' if decision.others == 1 else 'last'}")
    if rules.ui:
        lines.append(f"Dagster: {words.link(bad)}")
    body = "\n".join(_cut(mask(line)) for line in lines)
    return Message(_cut(mask(f"{name}: {subject}")), body)


def sample_message(rules: Notifications, name: str, now: datetime) -> Message:
    """A message that only shows that it arrives."""
    moment = now.astimezone(ZoneInfo(rules.timezone))
    return Message(
        f"{name}: test of the notifications",
        f"Somebody typed `legacy-sync notify --test` at {moment:%d.%m. %H:%M}.\nThis channel works; nothing is wrong.",
    )


def _groups(items: Sequence[Item]) -> list[list[Item]]:
    """Items that say the same of several things together."""

    def sameness(item: Item) -> tuple[str, ...]:
        s = item.situation
        assert s is not None  # what is over is not grouped
        return (item.why, s.kind, "" if s.kind == "lag" else s.what)

    order = {sameness(item): number for number, item in reversed(list(enumerate(items)))}
    return [list(group) for _, group in groupby(sorted(items, key=lambda i: order[sameness(i)]), key=sameness)]


@dataclass(frozen=True)
class _Words:
    rules: Notifications
    zone: ZoneInfo
    now: datetime

    def subject(self, groups: Sequence[Sequence[Item]], over: Sequence[Item]) -> str:
        """The weightiest, and how many more there are."""
        heads = [_headline(group) for group in groups] + [f"over: {item.notice.headline}" for item in over]
        if len(heads) == 1:
            return heads[0]
        more = len(groups) - 1 if groups else len(over) - 1
        ended = f", {len(over)} over" if groups and over else ""
        return heads[0] + (f" (and {more} more)" if more else "") + ended

    def block(self, group: Sequence[Item]) -> list[str]:
        """What, where, since when, and what to do."""
        situations = [item.situation for item in group if item.situation]
        first, since = situations[0], min(item.notice.since for item in group)
        head = _headline(group)
        if len(situations) > 1:
            head += ": " + _named(s.about for s in situations)
            first = replace(first, next_step=_without_names(first))
        is_one = len(situations) == 1
        place = f", {first.where}" if is_one and first.where else ""
        return [
            f"{head}: {first.what}" if is_one else f"{head}. {first.what}",
            f"  since: {self.moment(since)} ({_lasted(since, self.now)}){place}",
            f"  next:  {first.next_step}",
        ]

    def ended(self, item: Item) -> str:
        """From when to when it lasted."""
        notice = item.notice
        end = notice.ended_at or self.now
        span = f"{self.moment(notice.since)} to {self.moment(end)}, {_lasted(notice.since, end)}"
        return f"over: {notice.headline} ({span})"

    def moment(self, moment: datetime) -> str:
        """The time of day, with the day unless it is today."""
        there, today = moment.astimezone(self.zone), self.now.astimezone(self.zone)
        return f"{there:%H:%M}" if there.date() == today.date() else f"{there:%d.%m. %H:%M}"

    def link(self, items: Iterable[Item]) -> str:
        """The page of the failed run, if there is just one; else the start page."""
        runs = {item.situation.run for item in items if item.situation} - {None}
        return f"{self.rules.ui.rstrip('/')}/runs/{runs.pop()}" if len(runs) == 1 else self.rules.ui


def _headline(group: Sequence[Item]) -> str:
    first = group[0]
    many = _MANY.get(first.notice.kind)
    text = many.format(n=len(group)) if many and len(group) > 1 else first.notice.headline
    return _PREFIX[first.why] + text


def _named(names: Iterable[str]) -> str:
    found = list(names)
    rest = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return ", ".join(found[:_MOST_NAMES]) + rest


def _without_names(situation: Situation) -> str:
    return situation.next_step.replace(f" {situation.about}`", "`")


def _lasted(begin: datetime, end: datetime) -> str:
    minutes = max((end - begin).total_seconds(), 0) / 60
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 72 * 60 else f"{minutes / 1440:.0f} days"


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
