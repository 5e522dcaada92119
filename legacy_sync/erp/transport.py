"""Does what we say to the ERP database travel encrypted, and to whom? And what if the server's certificate is wrong?"""

from __future__ import annotations

import psycopg

from legacy_sync.errors import ErpRefused

_CHECKED = ("verify-ca", "verify-full")
# What libpq says of a connection that cannot be trusted, what that means, and what to do.
_REFUSALS = (
    (
        "does not match host name",
        "its certificate is made out for another host",
        "write the host in ERP_DATABASE_URL as the certificate has it",
    ),
    (
        "certificate verify failed",
        "its certificate has expired, or nobody we trust has issued it",
        "let it be renewed, or name its authority by sslrootcert=FILE in ERP_DATABASE_URL",
    ),
    (
        "does not support SSL",
        "it offers no encryption, and ERP_DATABASE_URL asks for it",
        'switch it on in PostgreSQL ("ssl = on"), or take sslmode out of ERP_DATABASE_URL',
    ),
    (
        "root certificate file",
        "the file with the certificate to trust cannot be read",
        "correct sslrootcert in ERP_DATABASE_URL",
    ),
)


def find_refusal(text: str, where: str) -> ErpRefused | None:
    """What is wrong with the server's certificate or encryption, if the driver's message is about that."""
    for said, meaning, next_step in _REFUSALS:
        if said in text:
            return ErpRefused(f"the ERP database cannot be trusted: {meaning}", where=where, next_step=next_step)
    return None


def describe_transport(connection: psycopg.Connection) -> tuple[str, bool, bool]:
    """Host, whether the connection is encrypted, and whether the server's certificate was checked."""
    encrypted = bool(connection.pgconn.ssl_in_use)
    parameters = connection.info.get_parameters()
    return connection.info.host, encrypted, encrypted and parameters.get("sslmode", "prefer") in _CHECKED
