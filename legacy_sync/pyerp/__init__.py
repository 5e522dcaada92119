"""Which values does pyERP derive by rules of its own? One place for all of them, named in mappings.

`RULES` make a column from legacy values (`compute`), `ERP_RULES` also look at the ERP row (`erp_rule`), and
`DERIVED` make a column of a parent from its children (`derive`). The engine knows none of them by name.
"""

from __future__ import annotations

from legacy_sync.pyerp.addresses import ADDRESS_RULES
from legacy_sync.pyerp.articles import ARTICLE_RULES
from legacy_sync.pyerp.derived import DERIVED
from legacy_sync.pyerp.documents import DOCUMENT_RULES
from legacy_sync.pyerp.images import IMAGE_RULES
from legacy_sync.pyerp.production import PRODUCTION_RULES
from legacy_sync.pyerp.receipts import ERP_RULES
from legacy_sync.pyerp.rule import Rule
from legacy_sync.pyerp.staff import STAFF_RULES
from legacy_sync.pyerp.stock import STOCK_RULES

__all__ = ["DERIVED", "ERP_RULES", "RULES", "Rule"]

RULES: dict[str, Rule] = {
    **ADDRESS_RULES,
    **ARTICLE_RULES,
    **DOCUMENT_RULES,
    **IMAGE_RULES,
    **PRODUCTION_RULES,
    **STAFF_RULES,
    **STOCK_RULES,
}
