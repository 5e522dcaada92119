"""When does a receipt pay a document? SQL over the staged receipt `s` and the ERP row `e` it belongs to."""

from __future__ import annotations

_PAYS = (
    "abs(s.amount_paid_external - e.total_amount)"
    " <= case when e.total_amount = 0 then 0.01 else round(abs(e.total_amount) * 0.02, 2) end"
)

ERP_RULES: dict[str, str] = {
    "receipt_payment_status": f"case when {_PAYS} then 'PAID' else e.payment_status end",
    "receipt_payment_date": (
        f"case when s.payment_date is not null and ({_PAYS} or e.payment_status = 'PAID')"
        " then s.payment_date else e.payment_date end"
    ),
}
