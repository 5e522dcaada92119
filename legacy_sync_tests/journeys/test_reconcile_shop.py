"""Do both sides agree in every entity of the project after its first import, by keys and by values?"""

import pytest
from scenarios_setup import WholeShop

from legacy_sync.sync.differences import Reconciliation
from legacy_sync.sync.reconcile import compared


def look(shop: WholeShop, entity: str, *, values: bool = True) -> Reconciliation:
    with compared(shop.workspace, shop.workspace.project.get(entity), values=values) as found:
        for d in found.differences():
            if d.kind not in ("parked", "waits_for_parent"):
                print(entity, d)
        return found.result


@pytest.mark.parametrize("values", [False, True])
def test_all_entities_agree_after_the_first_import(whole_shop: WholeShop, values: bool) -> None:
    found = {m.entity: look(whole_shop, m.entity, values=values) for m in whole_shop.mappings}
    for r in found.values():
        print(r)
    assert {name for name, r in found.items() if r.state == "differs"} == set()
    assert {kind for r in found.values() for kind in r.rows} <= {"parked", "waits_for_parent"}
