"""Do receipts, creditors and 4D write only what is theirs, whatever people have typed into them?"""

from typing import Any

from journey_setup import key_of
from services_setup import ServiceDesk

from legacy_sync.mapping.loader import load_project
from legacy_sync.mapping.model import EmailCast, Mapping
from legacy_sync.settings import PROJECT_ROOT, read_settings

DOCUMENT = {"AbsNr": 1, "PapierNr": 11418, "Papierart": "R", "Datum": "1!3!2025", "KundenNr": 77, "Endbetrag": 100}
RECEIPT = {"invoicenumber": "11418", "amount_paid": "100.00", "payment_date": "2025-04-01"}


def document(**values: Any) -> dict[str, Any]:
    return {"__KEY": key_of(1), **DOCUMENT, "bezahlt": False, "ZahlungsDat": "0!0!0", "Text": "", **values}


def paid(services: ServiceDesk) -> list[tuple[Any, ...]]:
    rows = services.rows("sales_salesrecord")
    return [(r["payment_status"], str(r["payment_date"]), r["notes"]) for r in rows]


def test_4d_does_not_take_back_what_a_receipt_has_paid(services: ServiceDesk):
    services.run("Belege", [[document()]])
    services.load("outbound_receipts", [RECEIPT])
    services.run("Belege", [[document(Text="neu")], [document(Text="neuer", ZahlungsDat="5!4!2025")]])
    assert paid(services) == [("PAID", "2025-04-01", "neuer")]


def test_receipt_does_not_take_back_what_4d_has_paid(services: ServiceDesk):
    services.run("Belege", [[document(bezahlt=True, ZahlungsDat="2!3!2025")]])
    for amount in ("5.00", "0.00"):
        services.load("outbound_receipts", [{**RECEIPT, "amount_paid": amount, "payment_date": None}])
    assert [state for state, _, _ in paid(services)] == ["PAID"]


def test_every_mapping_of_a_table_has_columns_of_its_own_or_says_who_wins():
    project = load_project(read_settings({"LEGACY_SYNC_MAPPINGS": str(PROJECT_ROOT / "mappings")}))
    tables: dict[str, list[Mapping]] = {}
    for mapping in project.ordered():
        tables.setdefault(mapping.target.table, []).append(mapping)
    shared = [mappings for mappings in tables.values() if len(mappings) > 1]
    for mappings in shared:
        writers: dict[str, list[Mapping]] = {}
        for mapping in mappings:
            for column in mapping.fields.keys() - set(mapping.target.natural_key):
                writers.setdefault(column, []).append(mapping)
        both = {column: {m.policy_of(column) for m in found} for column, found in writers.items() if len(found) > 1}
        assert both == {"payment_status": {"erp_wins"}, "payment_date": {"erp_wins"}}
    assert len(shared) == 1


TYPED = {
    101: "R101",
    102: "102",
    103: "r103",
    104: "\u00adR\u00ad10\u00ad4",
    105: "  105 ",
    106: "R 106",
    107: "R.107",
    108: "R108\u00a0",
    109: "\u200b109",
}
"""numbers of documents as people typed them into receipts"""


def test_receipt_finds_its_document_however_the_number_was_typed(services: ServiceDesk):
    documents = [document(__KEY=key_of(n), AbsNr=n, PapierNr=n) for n in TYPED]
    services.run("Belege", [documents])
    services.load("outbound_receipts", [{**RECEIPT, "invoicenumber": text} for text in TYPED.values()])
    found = {int(r["record_number"]): r["payment_status"] for r in services.rows("sales_salesrecord")}
    assert found == dict.fromkeys(TYPED, "PAID")


def test_creditor_with_nothing_but_a_name_is_loaded_without_the_rest(services: ServiceDesk):
    texts = ("contact_person_name", "email", "street", "additional_addressline", "zip", "city", "country", "iban")
    texts += ("bic", "customer_number", "sales_tax_id_eu")
    whole = dict.fromkeys(texts, "x")
    nothing = [dict.fromkeys(texts), dict.fromkeys(texts, ""), dict.fromkeys(texts, "  "), {}, whole]
    base = {"type": "creditor", "name": "Zinnhof"}
    report = services.load(
        "creditors", [{**base, "postingaccount_number": 70001 + n, **row} for n, row in enumerate(nothing)]
    )
    rows = services.rows("business_supplier")
    assert (report.counts.inserted, report.counts.parked) == (5, 0)
    assert sum(row["street"] is None and row["iban"] is None for row in rows) == 4


def test_every_email_column_follows_the_one_rule():
    project = load_project(read_settings({"LEGACY_SYNC_MAPPINGS": str(PROJECT_ROOT / "mappings")}))
    fields = {m.entity: field for m in project.ordered() for name, field in m.fields.items() if name == "email"}
    odd = {
        entity
        for entity, field in fields.items()
        if not any(isinstance(step, EmailCast) for step in field.cast) or field.if_invalid != "default"
    }
    assert odd == set()
    assert len(fields) == 3
