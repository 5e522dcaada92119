"""Is everything as it should be, and who has to be told? One look: see, decide, send, remember.

The starters (a sensor in Dagster, `legacy-sync notify`) call `look`. One look at a time sends; what each channel was
told lies in the ledger, so that restarts, several processes and several machines do not repeat each other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from legacy_sync.errors import (
    ErpRefused,
    ErpUnavailable,
    LedgerUnusable,
    LegacySyncError,
    NotifyFailed,
    SettingsInvalid,
)
from legacy_sync.ledger.notices import look_lock
from legacy_sync.mapping.notify_words import Kind, Notifications
from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.notify.channels import Channel, beat, list_channels
from legacy_sync.notify.decide import decide
from legacy_sync.notify.found import Entities, find_situations
from legacy_sync.notify.masking import Mask
from legacy_sync.notify.memory import ChannelState, FileMemory, LedgerMemory, Memory
from legacy_sync.notify.situation import Seen, Situation, of_erp_away
from legacy_sync.notify.texts import Message, sample_message, write_message
from legacy_sync.settings import Settings

logger = logging.getLogger(__name__)

OpenErp = Callable[[], AbstractContextManager[psycopg.Connection]]
FindOthers = Callable[[psycopg.Connection], Seen]

_AWAY = (ErpUnavailable, ErpRefused, LedgerUnusable)
_ERP_ONLY = Seen(kinds=frozenset[Kind]({"sources"}))


@dataclass(frozen=True)
class Desk:
    """What a look works with. `entities` and `sources` are those of the mappings in force."""

    settings: Settings
    rules: Notifications
    entities: Entities
    sources: Mapping[str, SourceSpec] = field(default_factory=dict)

    @property
    def channels(self) -> list[Channel]:
        """All ways to reach people."""
        return list_channels(self.settings, self.rules)

    @property
    def mask(self) -> Mask:
        """Hides what must not be told."""
        return Mask(self.settings, self.rules, *(spec.options for spec in self.sources.values()))

    @property
    def name(self) -> str:
        """Stands in front of every subject."""
        return self.rules.name or f"legacy_sync {self.settings.environment}"

    @property
    def heartbeat(self) -> str:
        """The dead man's switch, blank if there is none."""
        said = self.rules.heartbeat.get_secret_value()
        return said or self.settings.values.get("LEGACY_SYNC_HEARTBEAT") or ""

    @property
    def file(self) -> Path:
        """Where notices are kept while the ledger cannot be reached."""
        return self.settings.sessions.parent / "notices.json"


@dataclass
class Report:
    """What a look saw and did. `messages` were sent, or in a dry run would have been."""

    situations: tuple[Situation, ...] = ()
    messages: dict[str, Message] = field(default_factory=dict)
    problems: list[LegacySyncError] = field(default_factory=list)
    """channels that did not take their message, a ledger that cannot be reached"""
    is_other_at_work: bool = False

    def in_words(self) -> str:
        """What a look saw and did, in a line."""
        if self.is_other_at_work:
            return "another process looks just now"
        told = "; ".join(f"told {name}: {message.subject}" for name, message in self.messages.items())
        count = len(self.situations)
        seen = f"{count} situation{'' if count == 1 else 's'}" if count else "all is well"
        return f"{told or 'nothing to tell'} ({seen})"


def look(desk: Desk, open_erp: OpenErp, find_others: FindOthers, now: datetime, *, dry_run: bool = False) -> Report:
    """Looks once and tells what has to be told; what a channel does not take stays to be told."""
    report = Report()
    memory = FileMemory(desk.file)
    try:
        with open_erp() as connection, look_lock(connection) as is_mine:
            if not is_mine and not dry_run:
                report.is_other_at_work = True
                return report
            seen = find_situations(connection, desk.rules, desk.entities, desk.sources, now) + find_others(connection)
            report.situations = seen.situations
            _tell(desk, seen, LedgerMemory(connection), now, report, dry_run=dry_run)
    except _AWAY as error:
        report.problems.append(error)
        _tell_without_ledger(desk, memory, error, now, report, dry_run=dry_run)
    else:
        _tell_that_it_is_back(desk, memory, now, report, dry_run=dry_run)
    if desk.heartbeat and not dry_run and not any(isinstance(p, NotifyFailed) for p in report.problems):
        _beat(desk, report)
    for problem in report.problems:
        logger.warning("%s", problem)
    return report


def send_samples(desk: Desk, now: datetime) -> dict[str, LegacySyncError | None]:
    """A sample through every channel, and the heartbeat; by name what went wrong, or None."""
    results: dict[str, LegacySyncError | None] = {}
    for channel in desk.channels:
        results[channel.name] = _send(channel, sample_message(desk.rules, desk.name, now), desk.mask)
    if desk.heartbeat:
        report = Report()
        _beat(desk, report)
        results["heartbeat"] = report.problems[0] if report.problems else None
    return results


# --- with and without the ledger ---------------------------------------------------------------


def _tell_without_ledger(
    desk: Desk, memory: FileMemory, error: LegacySyncError, now: datetime, report: Report, *, dry_run: bool
) -> None:
    """The ERP database is away: told like any source, remembered in a file of this machine."""
    with memory.locked() as is_mine:
        if not is_mine:
            return
        report.situations = (of_erp_away(error, now),)
        _tell(desk, Seen(report.situations, _ERP_ONLY.kinds), memory, now, report, dry_run=dry_run)


def _tell_that_it_is_back(desk: Desk, memory: FileMemory, now: datetime, report: Report, *, dry_run: bool) -> None:
    if dry_run or not memory.file.exists():
        return
    with memory.locked() as is_mine:
        if is_mine:
            memory.read()
            _tell(desk, _ERP_ONLY, memory, now, report, dry_run=False)
            if memory.is_empty:
                memory.remove()


# --- channels ----------------------------------------------------------------------------------


def _tell(desk: Desk, seen: Seen, memory: Memory, now: datetime, report: Report, *, dry_run: bool) -> None:
    """Every channel for itself: one that cannot be reached holds up no other, and nothing it missed counts as told."""
    states, channels, mask = memory.read(), desk.channels, desk.mask
    for channel in channels:
        state = states.get(channel.name, ChannelState())
        known = _with_unreached(seen, channel, channels, states)
        decision = decide(state, known, desk.rules, now, channel.kinds)
        message = write_message(decision, desk.rules, desk.name, mask, now) if decision.items else None
        if message:
            report.messages[channel.name] = message
        if dry_run:
            continue
        failure = _send(channel, message, mask) if message else None
        if failure:
            report.problems.append(failure)
            memory.write(channel.name, state.failing(failure.what, now, decision.if_not))
        elif message:
            memory.write(channel.name, ChannelState(decision.if_told, sent_at=now))
        elif decision.if_told != state.notices:
            memory.write(channel.name, ChannelState(decision.if_told, state.sent_at, state.failed_since, state.failure))
    if not dry_run and (gone := [name for name in states if name not in {c.name for c in channels}]):
        memory.forget(gone)


def _with_unreached(
    seen: Seen, channel: Channel, channels: Sequence[Channel], states: Mapping[str, ChannelState]
) -> Seen:
    """What was seen, and which other channels cannot be reached."""
    found = []
    for other in channels:
        state = states.get(other.name, ChannelState())
        if other.name != channel.name and state.failed_since:
            headline, next_step = f"the channel {other.name} cannot be reached", "`legacy-sync notify --test` tries all"
            what = state.failure or "it did not take a message"
            found.append(
                Situation(
                    "unreached", other.name, headline, state.failed_since, what, "channels of notifications", next_step
                )
            )
    return seen + Seen(tuple(found), frozenset[Kind]({"unreached"}))


def _send(channel: Channel, message: Message, mask: Mask) -> LegacySyncError | None:
    """None if the message was taken, else why not."""
    try:
        channel.send(message, mask)
    except (NotifyFailed, SettingsInvalid) as error:
        return error
    return None


def _beat(desk: Desk, report: Report) -> None:
    try:
        beat(desk.heartbeat)
    except NotifyFailed as error:
        report.problems.append(error)
