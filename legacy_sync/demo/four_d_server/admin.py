"""How does a person with curl switch faults, change rows and read counters while the server runs?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

import orjson

from legacy_sync.demo.four_d_server.faults import FAULTS, Faults, fault_from
from legacy_sync.demo.four_d_server.rest import Reply, Request, RestApi
from legacy_sync.demo.four_d_server.store import AttributeDef
from legacy_sync.demo.four_d_server.wire import VERSIONS

if TYPE_CHECKING:
    from legacy_sync.demo.four_d_server.sessions import Sessions
    from legacy_sync.demo.four_d_server.store import Row, Store

ADMIN = "/__admin"
Action = Callable[["Store", int], Mapping[str, object]]

_HELP: dict[str, object] = {
    "GET /__admin/help": "this page",
    "GET /__admin/counters": "requests, rows, bytes, sessions, licences, faults fired; DELETE begins anew",
    "GET /__admin/log": "the latest requests",
    "GET /__admin/faults": "what is switched on; DELETE switches all off",
    "POST /__admin/faults": {"fault": "drop", "table": "Artikel_Variante", "times": 2, "rate": 0.5, "seed": 1},
    "POST /__admin/rows": {"table": "T", "insert": [{}], "update": {"<key>": {}}, "delete": ["<key>"]},
    "POST /__admin/clock": {"advance_seconds": 3600, "set": "2025-03-06T04:13:17+00:00", "freeze": "…"},
    "POST /__admin/sessions": {"expire": True, "licences": 1, "login": "open"},
    "POST /__admin/entity_sets": {"expire": True},
    "POST /__admin/tracking": {"table": "T", "global_stamp": 17},
    "POST /__admin/structure": {"table": "T", "add": {"Neues_Feld": "string"}, "drop": ["A"], "rename": {"B": "C"}},
    "POST /__admin/privileges": {"table": "T", "unreadable": ["Preise"]},
    "POST /__admin/version": {"version": " | ".join(VERSIONS)},
    "POST /__admin/actions/<name>": {"seed": 1},
    "faults": FAULTS,
}


@dataclass
class AdminDesk:
    """Everything under /__admin. Bodies and answers are JSON; what cannot be done is a 400 with a reason."""

    store: Store
    sessions: Sessions
    faults: Faults
    api: RestApi
    actions: dict[str, Action]

    def handle(self, request: Request) -> Reply:
        """The answer to one admin request."""
        word, _, rest = request.target.removeprefix(ADMIN).strip("/").partition("/")
        try:
            with self.store.lock:
                body = orjson.loads(request.body) if request.body else {}
                answer = self._act(request.method, word, rest, cast("Row", body))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            return Reply(orjson.dumps({"error": f"{type(error).__name__}: {error}", "help": "GET /__admin/help"}), 400)
        return Reply(orjson.dumps(answer, option=orjson.OPT_NON_STR_KEYS))

    def _act(self, method: str, word: str, rest: str, body: Row) -> object:
        if word == "help" or not word:
            return {**_HELP, "actions": sorted(self.actions)}
        if word == "counters":
            return self._counters(method)
        if word == "log":
            return [vars(seen) for seen in list(self.api.log)[-200:]]
        if word == "faults":
            return self._faults(method, body)
        if word == "actions":
            return dict(self.actions[rest](self.store, int(str(body.get("seed", 0)))))
        handlers = {
            "rows": self._rows,
            "clock": self._clock,
            "sessions": self._sessions,
            "entity_sets": self._entity_sets,
            "tracking": self._tracking,
            "structure": self._structure,
            "privileges": self._privileges,
            "version": self._version,
        }
        return handlers[word](body)

    def _counters(self, method: str) -> object:
        counters = self.api.counters
        if method == "DELETE":
            counters.reset()
            self.faults.fired.clear()
        return {
            "requests": dict(counters.requests),
            "statuses": dict(counters.statuses),
            "rows": counters.rows,
            "bytes": counters.bytes,
            "write_attempts": counters.write_attempts,
            "faults": dict(self.faults.fired),
            "sessions_open": len(self.sessions.live),
            "sessions_opened": self.sessions.opened,
            "licences_used": self.sessions.licences_used,
            "licences": self.sessions.licences,
            "entity_sets": len(self.api.entity_sets),
            "tables": {name: len(table) for name, table in self.store.tables.items()},
            "global_stamp": self.store.global_stamp,
        }

    def _faults(self, method: str, body: Row) -> object:
        if method == "DELETE":
            self.faults.clear()
        elif method == "POST":
            options = dict(body)
            self.faults.active.append(fault_from(str(options.pop("fault")), options))
        return [{k: v for k, v in vars(fault).items() if not k.startswith("_")} for fault in self.faults.active]

    def _rows(self, body: Row) -> object:
        table = str(body["table"])
        inserted = [self.store.insert(table, values) for values in cast("list[Row]", body.get("insert", []))]
        for key, values in cast("dict[str, Row]", body.get("update", {})).items():
            self.store.update(table, key, values)
        for key in cast("list[str]", body.get("delete", [])):
            self.store.delete(table, key)
        return {"inserted": inserted, "rows": len(self.store.tables[table])}

    def _clock(self, body: Row) -> object:
        clock = self.store.clock
        if "set" in body:
            clock.set(datetime.fromisoformat(str(body["set"])))
        if "freeze" in body:
            clock.freeze(datetime.fromisoformat(str(body["freeze"])))
        clock.advance(seconds=float(str(body.get("advance_seconds", 0))))
        return {"now": clock.now().isoformat()}

    def _sessions(self, body: Row) -> object:
        if body.get("expire"):
            self.sessions.expire_all()
        self.sessions.licences = int(str(body.get("licences", self.sessions.licences)))
        self.sessions.login = str(body.get("login", self.sessions.login))
        return {"open": len(self.sessions.live), "licences": self.sessions.licences, "login": self.sessions.login}

    def _entity_sets(self, body: Row) -> object:
        if body.get("expire"):
            self.api.entity_sets.clear()
        return {"entity_sets": len(self.api.entity_sets)}

    def _tracking(self, body: Row) -> object:
        if "table" in body:
            self.store.enable_tracking(str(body["table"]))
        if "global_stamp" in body:
            self.store.set_global_stamp(int(str(body["global_stamp"])))
        return {"global_stamp": self.store.global_stamp}

    def _structure(self, body: Row) -> object:
        table = str(body["table"])
        added = cast("dict[str, str]", body.get("add", {}))
        self.store.alter_table(
            table,
            add=[AttributeDef(name, kind) for name, kind in added.items()],
            drop=cast("list[str]", body.get("drop", [])),
            rename=cast("dict[str, str]", body.get("rename", {})),
        )
        return {"attributes": [a.name for a in self.store.tables[table].definition.attributes]}

    def _privileges(self, body: Row) -> object:
        table = self.store.tables[str(body["table"])]
        table.unreadable = frozenset(cast("list[str]", body["unreadable"]))
        return {"unreadable": sorted(table.unreadable)}

    def _version(self, body: Row) -> object:
        self.api.version = VERSIONS[str(body["version"])]
        return {"version": body["version"]}
