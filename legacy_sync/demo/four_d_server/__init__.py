"""How can the sync be tried and tested without a 4D server? With this stand-in, which behaves as badly on demand.

In a test::

    from legacy_sync.demo.four_d_server import FourDServer
    from legacy_sync.demo.sample_data import build_store, change_some

    store = build_store(seed=1, families=160, variants=430)
    with FourDServer(store, licences=2) as server:           # port=0 picks a free one
        requests.get(server.url + "/rest/Artikel_Familie?$top=5")
        store.update("Artikel_Familie", key, {"Gewicht": 3.5})  # stamps, modified_* and __TIMESTAMP follow
        store.insert("Artikel_Familie", {"Nummer": 1, "Bezeichnung": "neu"})
        store.delete("Artikel_Familie", key)
        change_some(store, seed=7)                           # a day's work of the clerks
        store.clock.advance(hours=3)                         # Date header, stamps, session and set expiry follow
        server.faults.add("drop", table="Artikel_Variante", times=2)
        server.faults.add("slow", seconds=1.5, rate=0.1, seed=3)
        server.faults.clear()
        store.alter_table("Artikel_Familie", rename={"ArtGr": "Artikelgruppe"})  # the structure drifts
        store.enable_tracking("Artikel_Familie"); store.set_global_stamp(3)
        store.tables["Artikel_Variante"].unreadable = frozenset({"Preise"})      # a missing privilege
        server.sessions.expire_all(); server.expire_entity_sets()
        server.counters.requests["Artikel_Variante"], server.counters.rows, server.log[-1].query
        server.on_data_request = lambda table, number: store.delete(table, some_key)  # between two pages
    # server.stop() / server.start() again: same port, same data ("the server is down")

By hand: `python -m legacy_sync.demo.four_d_server --port 8080`, then `curl localhost:8080/__admin/help`.
One request alone gets a fault by the header `X-Fault: drop` (or `X-Fault: slow:seconds=2`).
The faults are listed in `faults.FAULTS`, their options in `faults.Fault`; versions of 4D in `wire.VERSIONS`.
Not imitated: writing over REST, filters through relation paths and into objects, `$expand` of relations.
"""

from legacy_sync.demo.four_d_server.faults import FAULTS, Fault, Faults
from legacy_sync.demo.four_d_server.server import FourDServer
from legacy_sync.demo.four_d_server.store import AttributeDef, Clock, Store, Table, TableDef
from legacy_sync.demo.four_d_server.wire import VERSIONS, WireVersion

__all__ = [
    "FAULTS",
    "VERSIONS",
    "AttributeDef",
    "Clock",
    "Fault",
    "Faults",
    "FourDServer",
    "Store",
    "Table",
    "TableDef",
    "WireVersion",
]
