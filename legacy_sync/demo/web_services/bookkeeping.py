"""What would the bookkeeping service answer? Suppliers as creditors, and receipts that pay invoices of 4D.

As in real life some creditors have no name, no number or explicit nulls, a few accounts are debtors, and people
have typed invoice numbers with an R in front, with soft hyphens or with blanks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from legacy_sync.demo.four_d_server.store import Row
from legacy_sync.demo.web_services.server import Reply, Request

USER, PASSWORD, API_KEY = "demo", "demo-password", "demo-api-key"
_LARGEST_PAGE = 500
_FIRST_ACCOUNT = 70001
_NAMES = ("Farben", "Zinn", "Kartonagen", "Werkzeug", "Druckerei", "Spedition", "Gips", "Holz", "Etiketten", "Strom")
_OWNERS = ("Huber", "Müller", "Öttl", "Schmid", "Groß", "Bauer", "Fuchs", "Wörner", "Kainz", "Weiß")
_FORMS = ("GmbH", "KG", "e. K.", "AG", "GbR", "S.r.l.")
_PLACES = (("86911", "Diessen"), ("80331", "München"), ("86899", "Landsberg"), ("1010", "Wien"), ("39100", "Bozen"))


class Bookkeeping:
    """The service: `creditors` and `receipts` are what it has."""

    def __init__(self, creditors: list[Row], receipts: list[Row]) -> None:
        self.creditors = creditors
        self.receipts = receipts

    @classmethod
    def beside(cls, seed: int, documents: Sequence[Row], today: date, creditors: int = 212) -> Bookkeeping:
        """With receipts for the invoices among 4D's documents."""
        dice = random.Random(f"{seed}/bookkeeping")
        return cls(list(_creditors(dice, creditors)), list(_receipts(dice, documents, today)))

    def answer(self, request: Request, base: str) -> Reply:
        """POST settings/get/creditors and receipts/get, with limit and offset in the body."""
        if request.login != (USER, PASSWORD):
            return Reply({"success": False, "message": "HTTP Basic: access denied"}, 401)
        if request.body.get("api_key") != API_KEY:
            return Reply({"success": False, "message": "api_key is invalid"})
        tables = {"api/v1/settings/get/creditors": self.creditors, "api/v1/receipts/get": self.receipts}
        if request.method != "POST" or request.path not in tables:
            return Reply({"success": False, "message": "unknown endpoint"}, 404)
        if request.path.endswith("receipts/get") and request.body.get("list_direction") not in ("inbound", "outbound"):
            return Reply({"success": False, "message": "list_direction is missing"}, 400)
        rows = [] if request.body.get("list_direction") == "inbound" else tables[request.path]
        start = int(request.body.get("offset") or 0)
        page = rows[start : start + min(int(request.body.get("limit") or _LARGEST_PAGE), _LARGEST_PAGE)]
        return Reply({"success": True, "message": "", "rows": len(page), "data": page})


def _creditors(dice: random.Random, count: int) -> Iterator[Row]:
    for number in range(count):
        zip_code, city = dice.choice(_PLACES)
        owner = dice.choice(_OWNERS)
        yield {
            "postingaccount_number": _FIRST_ACCOUNT + number,
            "name": f"{dice.choice(_NAMES)} {owner} {dice.choice(_FORMS)}",
            "type": "creditor",
            "email": f"buchhaltung@{owner.lower().encode('ascii', 'ignore').decode()}.example",
            "contact_person_name": dice.choice(("", "", f"Frau {owner}")),
            "street": f"Gewerbestr. {dice.randrange(1, 90)}",
            "additional_addressline": dice.choice(("", "", "", "Halle 2")),
            "zip": zip_code,
            "city": city,
            "country": "DE" if len(zip_code) == 5 else "AT",
            "iban": f"DE{dice.randrange(10, 99)}{dice.randrange(10**17, 10**18)}",
            "bic": dice.choice(("", "BYLADEM1LLD", "GENODEF1DSS")),
            "customer_number": f"K{dice.randrange(1000, 9999)}",
            "sales_tax_id_eu": dice.choice(("", f"DE{dice.randrange(10**8, 10**9)}")),
            **_spoilt(dice, number),
        }


def _spoilt(dice: random.Random, number: int) -> Row:
    """What is wrong with every fortieth."""
    cases: tuple[Row, ...] = ({"name": ""}, {"postingaccount_number": 0}, {"type": "debitor"}, {"email": None})
    return dice.choice(cases) if number % 40 == 39 else {}


def _receipts(dice: random.Random, documents: Sequence[Row], today: date) -> Iterator[Row]:
    """Most invoices of the last years are paid in full; some a little less, some in part, some not at all."""
    invoices = [row for row in documents if str(row.get("Papierart")).strip() == "R"]
    for number, invoice in enumerate(invoices[-1500:]):
        total = _amount(invoice.get("Endbetrag"))
        paid_on = today - timedelta(days=dice.randrange(1, 400))
        yield {
            "id_by_customer": number + 1,
            "invoicenumber": _typed(dice, str(invoice["PapierNr"])),
            "filename": f"R{invoice['PapierNr']}.pdf",
            "amount": f"{total:.2f}",
            "date": (paid_on - timedelta(days=14)).isoformat(),
            **_payment(dice, total, paid_on),
        }
    yield {"id_by_customer": 99001, "invoicenumber": "PORTO 2025", "filename": "porto.pdf", "amount": "12.40",
           "date": today.isoformat(), "amount_paid": "12.40", "payment_date": today.isoformat()}  # fmt: skip


def _payment(dice: random.Random, total: float, paid_on: date) -> Row:
    lot = dice.random()
    if lot < 0.78:
        return {"amount_paid": f"{total:.2f}", "payment_date": paid_on.isoformat()}
    if lot < 0.84:
        return {"amount_paid": f"{total * 0.985:.2f}", "payment_date": paid_on.isoformat()}
    if lot < 0.90:
        return {"amount_paid": f"{total * 0.5:.2f}", "payment_date": paid_on.isoformat()}
    if lot < 0.92:
        return {"amount_paid": f"{total:.2f}", "payment_date": paid_on.strftime("%d.%m.%Y")}
    return {"amount_paid": "0.00", "payment_date": None}


def _typed(dice: random.Random, number: str) -> str:
    """An invoice number as people type it."""
    lot = dice.random()
    if lot < 0.6:
        return f"R{number}"
    if lot < 0.9:
        return number
    return f"R\u00ad{number[:2]}\u00ad{number[2:]}" if lot < 0.95 else f" R {number}"


def _amount(value: Any) -> float:
    try:
        return float(str(value).replace(",", "."))
    except ValueError:
        return 0.0
