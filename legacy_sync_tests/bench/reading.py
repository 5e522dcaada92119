"""How do the other contenders read the same pages? By key, like we do, one page ahead, and without a single check.

Standard library only, since the peers import it in an environment of their own.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from datetime import date
from queue import Queue
from urllib.parse import quote, urlsplit

_AHEAD = 3
_KEY = b'"__KEY":"'


def read_pages(url: str, page_size: int, since: date | None) -> Iterator[bytes]:
    """The bodies of all pages with rows changed on or after `since`, fetched by a thread of their own."""
    queue: Queue[bytes | BaseException | None] = Queue(_AHEAD)

    def fetch() -> None:
        try:
            for body in _fetch_pages(url, page_size, since):
                queue.put(body)
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            queue.put(error)
        queue.put(None)

    threading.Thread(target=fetch, daemon=True).start()
    while (page := queue.get()) is not None:
        if isinstance(page, BaseException):
            raise page
        yield page


def path_of(page_size: int, since: date | None, after: str | None) -> str:
    """The request for one page, written as legacy_sync writes it."""
    wanted = [("modified_date >=", since.isoformat())] if since else []
    wanted += [("UID >", after)] if after else []
    path = f"/rest/Bench?$orderby=%22UID%22&$top={page_size}"
    if not wanted:
        return path
    conditions = " and ".join(f"({name} :{n})" for n, (name, _) in enumerate(wanted, 1))
    values = json.dumps([value for _, value in wanted])
    return path + "&$filter=" + quote(f'"{conditions}"') + "&$params=" + quote(f"'{values}'")


def _fetch_pages(url: str, page_size: int, since: date | None) -> Iterator[bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    cookies: dict[str, str] = {}
    after = None
    while True:
        connection.request("GET", path_of(page_size, since, after), headers=cookies)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the server answered {answer.status}: {body[:200]!r}")
        sent = answer.headers.get_all("Set-Cookie", [])
        cookies = {"Cookie": "; ".join(c.split(";")[0] for c in sent)} if sent else cookies
        last = body.rfind(_KEY)
        if last >= 0:
            after = body[last + len(_KEY) : body.index(b'"', last + len(_KEY))].decode()
            yield body
        if body.count(_KEY) < page_size:
            return
