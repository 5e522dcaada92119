"""Whose certificates do we trust, and what is wrong with one that we do not? Every server is checked, always."""

from __future__ import annotations

import ssl

from legacy_sync.errors import LegacySyncError, SettingsInvalid, SourceRefused, SourceUnavailable

_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_HOST = frozenset({62, 64})


def trusted(ca_file: str | None, where: str, how_to_set: str) -> str | bool:
    """What `verify` of `requests` takes: a PEM file, or True for the authorities everybody trusts.

    Raises SettingsInvalid for a file that holds no certificates.
    """
    if not ca_file:
        return True
    try:
        ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise SettingsInvalid(
            f'the certificates in "{ca_file}" cannot be used: {_why(error)}', where=where, next_step=how_to_set
        ) from error
    return ca_file


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return "it holds no certificate in PEM form"
    return error.strerror or str(error)


def tls_failure(error: OSError, where: str, how_to_trust: str) -> LegacySyncError:
    """What an SSLError of `requests` means: a certificate that is refused, or a trouble that may pass."""
    reason = _find_reason(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        what, next_step = _judged(reason, how_to_trust)
        return SourceRefused(f"the server's certificate is refused: {what}", where=where, next_step=next_step)
    if isinstance(reason, ssl.SSLError) and reason.reason == "WRONG_VERSION_NUMBER":
        return SourceRefused(
            "the server does not speak TLS at this address", where=where, next_step="check scheme and port of the URL"
        )
    return SourceUnavailable(
        "no encrypted connection came about", where=where, next_step="check the server's TLS settings, then run again"
    )


def _judged(reason: ssl.SSLCertVerificationError, how_to_trust: str) -> tuple[str, str]:
    if reason.verify_code == _EXPIRED:
        return "it has expired", "let the server's administrator renew it, then run again"
    if reason.verify_code == _NOT_YET_VALID:
        return "it is not valid yet", "check the clocks of both machines"
    if reason.verify_code in _OTHER_HOST:
        return "it is made out for another host", "write the host's name in the URL as its certificate has it"
    return f"nobody we trust has issued it ({reason.verify_message})", how_to_trust


def _find_reason(error: BaseException) -> BaseException | None:
    """The error of the TLS library, which the others wrap."""
    found: BaseException | None = error
    for _ in range(10):
        if found is None or isinstance(found, ssl.SSLError):
            return found
        wrapped = getattr(found, "reason", None) or next((a for a in found.args if isinstance(a, BaseException)), None)
        found = wrapped if isinstance(wrapped, BaseException) else found.__cause__ or found.__context__
    return None
