"""How does a test work as the database user that `legacy-sync grants` describes, and as nobody more?"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from urllib.parse import urlsplit

import psycopg

from legacy_sync.erp.grants import list_grants
from legacy_sync.mapping.model import Mapping


@contextmanager
def limited_user(erp_url: str, mappings: Iterable[Mapping], *, undo: bool = False) -> Iterator[str]:
    """The URL of the same database for a user who has just the rights of these mappings, gone afterwards."""
    role = f"sync-{token_hex(4)}"  # a name that has to be quoted
    with psycopg.connect(erp_url, autocommit=True) as owner:
        run_grants(owner, mappings, role, undo=undo)
        owner.execute(f"alter role \"{role}\" password 'limited'")  # type: ignore[arg-type]
        parts = urlsplit(erp_url)
        yield f"postgresql://{role}:limited@{parts.hostname}:{parts.port}{parts.path}"
        owner.execute(f'drop owned by "{role}"')  # type: ignore[arg-type]
        owner.execute(f'drop role "{role}"')  # type: ignore[arg-type]


def run_grants(owner: psycopg.Connection, mappings: Iterable[Mapping], role: str, *, undo: bool = False) -> None:
    """What an administrator does with the printed statements."""
    with owner.transaction():
        for statement in list_grants(owner, mappings, role, undo=undo):
            owner.execute(statement)  # type: ignore[arg-type]
