"""What was each channel told? Notices, kept in the ledger, or in a private file while the ledger cannot be reached."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg

from legacy_sync.ledger.notices import forget_channels, read_channels, write_channel
from legacy_sync.mapping.notify_words import Kind
from legacy_sync.notify.situation import Name


@dataclass(frozen=True)
class Notice:
    """One situation as a channel knows it.

    `told_at` is None while it was not told; `is_held`: it had to be told at a look and could not be; `ended_at`: all
    has been right since then, which is still to be told.
    """

    kind: Kind
    about: str
    headline: str
    since: datetime
    size: int = 1
    told_at: datetime | None = None
    told_size: int = 0
    is_held: bool = False
    ended_at: datetime | None = None

    @property
    def name(self) -> Name:
        """That of its situation."""
        return self.kind, self.about


@dataclass(frozen=True)
class ChannelState:
    """All a channel knows, when it was reached last, and since when it cannot be."""

    notices: tuple[Notice, ...] = ()
    sent_at: datetime | None = None
    failed_since: datetime | None = None
    failure: str | None = None

    def failing(self, reason: str, now: datetime, notices: Sequence[Notice]) -> ChannelState:
        """The channel could not be reached: these are still to be told."""
        return replace(self, notices=tuple(notices), failed_since=self.failed_since or now, failure=reason)


class Memory(Protocol):
    """Where the states of all channels are kept."""

    def read(self) -> dict[str, ChannelState]:
        """All channels by name."""

    def write(self, channel: str, state: ChannelState) -> None:
        """The channel is as this says from now on."""

    def forget(self, channels: Sequence[str]) -> None:
        """These channels are no longer there."""


@dataclass
class FileMemory:
    """A private file of this machine."""

    file: Path
    _states: dict[str, ChannelState] = field(default_factory=dict)

    def read(self) -> dict[str, ChannelState]:
        """All channels by name; none if there is no file, or it is damaged."""
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
            self._states = {name: _state(said) for name, said in data.items()}
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            self._states = {}
        return dict(self._states)

    def write(self, channel: str, state: ChannelState) -> None:
        """Written aside, then renamed."""
        self._states[channel] = state
        self._save()

    def forget(self, channels: Sequence[str]) -> None:
        """Without these."""
        self._states = {name: state for name, state in self._states.items() if name not in channels}
        self._save()

    @property
    def is_empty(self) -> bool:
        """Whether nobody has anything still to be told."""
        return not any(state.notices for state in self._states.values())

    def remove(self) -> None:
        """All was told."""
        self.file.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this process alone works with the file."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.file.with_suffix(".lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _save(self) -> None:
        aside = self.file.with_suffix(f".{os.getpid()}")
        text = json.dumps({name: asdict(state) for name, state in self._states.items()}, default=datetime.isoformat)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        aside.replace(self.file)


def _state(said: dict[str, Any]) -> ChannelState:
    notices = tuple(Notice(**_with_times(notice, "since", "told_at", "ended_at")) for notice in said.pop("notices"))
    return ChannelState(notices=notices, **_with_times(said, "sent_at", "failed_since"))


def _with_times(said: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**said, **{name: datetime.fromisoformat(said[name]) for name in names if said[name]}}


@dataclass(frozen=True)
class LedgerMemory:
    """The ledger."""

    connection: psycopg.Connection

    def read(self) -> dict[str, ChannelState]:
        """All channels by name."""
        found = read_channels(self.connection)
        return {
            name: ChannelState(tuple(Notice(**n) for n in notices), **own) for name, (own, notices) in found.items()
        }

    def write(self, channel: str, state: ChannelState) -> None:
        """In one transaction."""
        columns = {name: value for name, value in vars(state).items() if name != "notices"}
        write_channel(self.connection, channel, notices=[asdict(notice) for notice in state.notices], **columns)

    def forget(self, channels: Sequence[str]) -> None:
        """Without these."""
        forget_channels(self.connection, channels)
