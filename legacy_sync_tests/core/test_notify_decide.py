"""When is a channel told, and when not yet? Situations, what it knows and the time in; what to tell out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from legacy_sync.mapping.notify_words import KINDS, Kind, Notifications
from legacy_sync.notify.decide import decide
from legacy_sync.notify.masking import Mask
from legacy_sync.notify.memory import ChannelState
from legacy_sync.notify.situation import Seen, Situation
from legacy_sync.notify.texts import write_message
from legacy_sync.settings import read_settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALWAYS = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}]


def of(kind: Kind, about: str, size: int = 1, what: str = "it broke") -> Situation:
    return Situation(kind, about, f"{about} is bad", NOON, what, "there", f"mend `{about}`", size)


@dataclass
class Channel:
    """A channel over time; `works` is whether it takes messages."""

    said: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = KINDS
    state: ChannelState = field(default_factory=ChannelState)
    works: bool = True
    text: str = ""

    def look(self, minutes: float, *now_bad: Situation, kinds: Iterable[Kind] = KINDS) -> list[tuple[str, str]]:
        """Why and of what it is told so many minutes after noon."""
        now, rules = NOON + timedelta(minutes=minutes), Notifications.model_validate(self.said)
        decision = decide(self.state, Seen(now_bad, frozenset(kinds)), rules, now, self.kinds)
        if not self.works:
            self.state = ChannelState(decision.if_not, self.state.sent_at, failed_since=now)
            return []
        sent_at = now if decision.items else self.state.sent_at
        self.state = ChannelState(decision.if_told, sent_at)
        if decision.items:
            message = write_message(decision, rules, "x", Mask(read_settings({})), now)
            self.text = f"{message.subject}\n{message.body}"
        return [(item.why, item.notice.about) for item in decision.items]


def test_situation_is_told_once_again_after_a_while_and_when_it_is_over():
    channel, bad = Channel(), of("runs", "a")
    assert channel.look(1, bad) == []
    assert channel.look(2, bad) == [("new", "a")]
    assert channel.look(3, bad) == channel.look(241, bad) == []
    assert channel.look(242, bad) == [("again", "a")]
    assert channel.look(250) == channel.look(254) == []
    assert channel.look(255) == [("over", "a")]
    assert channel.text == "x: over: a is bad\nover: a is bad (13:00 to 17:10, 4 h)"
    assert channel.state.notices == ()


def test_what_is_over_before_it_is_told_is_forgotten():
    channel = Channel()
    assert channel.look(1, of("runs", "a")) == []
    assert channel.look(2) == []
    assert channel.state.notices == ()


def test_what_comes_back_at_once_goes_on():
    channel, bad = Channel(), of("runs", "a")
    assert channel.look(2, bad) == [("new", "a")]
    assert channel.look(10) == channel.look(14, bad) == channel.look(20, bad) == []


def test_what_comes_within_the_pause_is_told_with_the_next_message_even_if_it_is_over_by_then():
    channel, first, second = Channel({"pause": "30m"}), of("runs", "a"), of("runs", "b")
    assert channel.look(2, first) == [("new", "a")]
    assert channel.look(10, first, second) == channel.look(20, first) == []
    assert channel.look(40, first) == [("over", "b")]


def test_what_a_channel_did_not_take_is_told_when_it_does_even_if_it_is_over_by_then():
    channel, bad = Channel(works=False), of("runs", "a")
    channel.look(2, bad)
    channel.look(10)
    channel.works = True
    assert channel.look(20) == [("over", "a")]


def test_what_grew_by_its_factor_is_told_before_it_is_time():
    channel = Channel()
    assert channel.look(15, of("quarantine", "all", 5)) == [("new", "all")]
    assert channel.look(30, of("quarantine", "all", 9)) == []
    assert channel.look(45, of("quarantine", "all", 10)) == [("worse", "all")]
    assert channel.look(60, of("quarantine", "all", 11)) == []


def test_only_what_is_urgent_is_told_in_quiet_hours():
    channel, parked, failed = Channel({"quiet": ALWAYS}), of("quarantine", "all"), of("runs", "a")
    assert channel.look(20, parked, failed) == [("new", "a")]
    channel.said = {}
    assert channel.look(30, parked, failed) == [("new", "all")]


def test_channel_is_told_of_its_kinds_only_and_of_nothing_that_is_switched_off():
    assert Channel(kinds=("sources",)).look(20, of("sources", "s"), of("runs", "a")) == [("new", "s")]
    assert Channel({"runs": {"enabled": False}}).look(20, of("sources", "s"), of("runs", "a")) == [("new", "s")]


def test_what_a_look_cannot_see_is_neither_over_nor_repeated_by_it():
    """Such as runs in Dagster, for a cron job without Dagster."""
    channel, bad = Channel(), of("dagster", "x")
    assert channel.look(5, bad) == [("new", "x")]
    assert channel.look(600, kinds=["runs"]) == channel.look(610, kinds=["runs"]) == []
    assert channel.look(620, bad) == [("again", "x")]


def test_many_are_one_message_that_fits_a_phone():
    channel = Channel()
    same = [of("runs", f"e{n}") for n in range(6)]
    other = [of("guards", "g", what="too many are gone"), of("sources", "s", what="no answer"), of("lag", "l")]
    channel.look(20, *same, *other)
    assert channel.text.splitlines() == [
        "x: s is bad (and 3 more)",
        "s is bad: no answer",
        "  since: 13:00 (20 min), there",
        "  next:  mend `s`",
        "g is bad: too many are gone",
        "  since: 13:00 (20 min), there",
        "  next:  mend `g`",
        "6 entities failed: e0, e1, e2, e3 and 2 more. it broke",
        "  since: 13:00 (20 min)",
        "  next:  mend `e0`",
        "and 1 more: `legacy-sync notify --dry-run` lists all",
    ]
