"""Which columns of a parent follow from its children? pyERP computes them when a child is saved; a load must, too.

Each rule is a query over the children `i` of the parents in `ls_parent (id)`; it yields id and value for each.
`{children}` is the table of the children, `{through}` their reference to the parent.
"""

from __future__ import annotations

_DELIVERY_STATUS = """
select p.id, case
    when count(i.id) = 0 then 'PENDING'
    when bool_and(i.fulfilled_quantity >= i.quantity) then 'FULLY_DELIVERED'
    when bool_or(i.fulfillment_status = 'PARTIAL' or i.fulfilled_quantity <> 0) then 'PARTIALLY_DELIVERED'
    else 'PENDING' end as value
from ls_parent p left join {children} i on i.{through} = p.id and i.fulfillment_status <> 'CANCELLED'
group by p.id
"""
_SLOT_OCCUPIED = """
select p.id, coalesce(bool_or(i.quantity > 0), false) as value
from ls_parent p left join {children} i on i.{through} = p.id
group by p.id
"""

DERIVED: dict[str, str] = {"delivery_status": _DELIVERY_STATUS, "slot_occupied": _SLOT_OCCUPIED}
