"""What happens in the old database on a working day?"""

from __future__ import annotations

import random

from legacy_sync.demo.four_d_server.store import Store
from legacy_sync.demo.sample_data.desk import Desk, Summary
from legacy_sync.demo.sample_data.partners import work_on_partners
from legacy_sync.demo.sample_data.production import work_on_production
from legacy_sync.demo.sample_data.products import work_on_products
from legacy_sync.demo.sample_data.sales import work_on_sales
from legacy_sync.demo.sample_data.stock import work_on_stock

_DEPARTMENTS = {
    "changes": work_on_products,
    "partners": work_on_partners,
    "stock": work_on_stock,
    "production": work_on_production,
    "sales": work_on_sales,
}


def change_some(store: Store, seed: int = 0) -> Summary:
    """A day's work: about 1 % of the rows edited, a few added, a missing parent saved, a bad row repaired."""
    done = Summary()
    with store.lock:
        for name, work in _DEPARTMENTS.items():
            work(Desk(store, random.Random(f"{seed}/{name}"), done))
    return done
