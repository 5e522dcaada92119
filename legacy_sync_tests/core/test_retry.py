"""Is something that may pass tried as often as declared, after growing pauses, and is that in the message?"""

import pickle
from datetime import timedelta
from typing import NoReturn

import pytest
from pydantic import ValidationError

from legacy_sync.errors import SourceRefused, SourceUnavailable
from legacy_sync.mapping.retry import Rerun, Retry

PATIENT = Retry(attempts=4, first_pause="2s", longest_pause="5s", jitter=0)


def away() -> NoReturn:
    raise SourceUnavailable("no answer", where="4D", next_step="wait")


def paused(retry: Retry, error: type[SourceUnavailable] | type[SourceRefused] = SourceUnavailable) -> list[float]:
    """The pauses of a call that always fails."""
    pauses: list[float] = []
    call = retry.trying(lambda e: isinstance(e, SourceUnavailable), told=lambda _: None, sleep=pauses.append)

    def fail() -> NoReturn:
        raise error("no answer", where="4D", next_step="wait")

    with pytest.raises(error):
        call(fail)
    return pauses


def test_pauses_double_up_to_the_longest():
    assert paused(PATIENT) == [2, 4, 5]


def test_pauses_are_longer_by_chance_up_to_a_share():
    pauses = [Retry(first_pause="1s", jitter=0.5).pause(1) for _ in range(200)]
    assert 1 <= min(pauses) < 1.1 < 1.4 < max(pauses) <= 1.5


def test_a_refusal_is_not_tried_again():
    assert paused(PATIENT, SourceRefused) == []


def test_no_try_begins_after_the_deadline():
    assert paused(PATIENT.model_copy(update={"deadline": timedelta(seconds=3)})) == [2]


def test_last_failure_says_how_often_it_was_tried():
    with pytest.raises(SourceUnavailable) as failed:
        PATIENT.trying(lambda _: True, told=lambda _: None, sleep=lambda _: None)(away)
    assert str(failed.value).startswith("no answer (tried 4 times in 0.0 s)\n  where: 4D")
    assert pickle.loads(pickle.dumps(failed.value)).what == "no answer (tried 4 times in 0.0 s)"


def test_what_was_tried_once_needs_no_word():
    with pytest.raises(SourceUnavailable, match=r"^no answer\n"):
        Retry(attempts=1).trying(lambda _: True, told=lambda _: None)(away)


def test_steps_are_more_patient_than_requests():
    assert Rerun().pause(1) >= 10 > Retry().pause(1)


@pytest.mark.parametrize("words", [{"attempts": 0}, {"first_pause": "soon"}, {"first_pause": 5}, {"jitter": 2}])
def test_impossible_words_are_refused(words: dict[str, object]):
    with pytest.raises(ValidationError):
        Retry.model_validate(words)
