"""What are the tables of the old database called?"""

from __future__ import annotations

from typing import Final

FAMILIES: Final = "Artikel_Familie"
VARIANTS: Final = "Artikel_Variante"
CUSTOMERS: Final = "Kunden"
ADDRESSES: Final = "Adressen"
EMPLOYEES: Final = "Personal"
PLACES: Final = "Stamm_Lagerorte"
PARAMETERS: Final = "parameter"
BOXES: Final = "Stamm_Lager_Schuetten"
SLOTS: Final = "Stamm_Lager_Schuetten_Slots"
STOCK: Final = "Artikel_Lagerorte"
BOX_STOCK: Final = "Lager_Schuetten"
MOLDS: Final = "Formen"
MOLD_ARTICLES: Final = "Form_Artikel"
ORDERS: Final = "Werksauftraege"
ORDER_ITEMS: Final = "WerksauftrPos"
DOCUMENTS: Final = "Belege"
POSITIONS: Final = "Belege_Pos"
BENCH: Final = "Bench"

NAMES: Final = (
    FAMILIES,
    VARIANTS,
    CUSTOMERS,
    ADDRESSES,
    EMPLOYEES,
    PLACES,
    PARAMETERS,
    BOXES,
    SLOTS,
    STOCK,
    BOX_STOCK,
    MOLDS,
    MOLD_ARTICLES,
    ORDERS,
    ORDER_ITEMS,
    DOCUMENTS,
    POSITIONS,
)
