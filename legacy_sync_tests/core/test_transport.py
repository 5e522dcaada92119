"""Which connections does `check` warn of?"""

from legacy_sync.cli.transport import Transport, of_sources
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings


def of_four_d(url: str) -> Transport:
    settings = read_settings({"LEGACY_API_URL": url})
    (transport,) = of_sources(settings, load_project(settings), ["four_d"])
    return transport


def test_logins_that_leave_the_machine_in_plain_text_are_warned_of() -> None:
    warning = of_four_d("http://user:secret@four-d.example:8080").warning
    assert warning is not None
    assert "unencrypted" in warning.what
    assert "secret" not in str(warning)


def test_encrypted_connections_and_those_within_the_machine_are_not() -> None:
    assert of_four_d("https://four-d.example").in_words == "source four_d: encrypted, four-d.example"
    assert of_four_d("http://127.0.0.1:8080").in_words == "source four_d: not encrypted, does not leave this machine"
    assert of_four_d("https://four-d.example").warning is None
    assert of_four_d("http://[::1]:8080").warning is None
