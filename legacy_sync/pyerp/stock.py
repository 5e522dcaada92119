"""How is a type of box described in pyERP?"""

from __future__ import annotations

import pyarrow as pa

from legacy_sync.pyerp.rule import Inputs, Options, Rule, row_by_row
from legacy_sync.sync.cells import Cells

_COLOURS = {
    "Blau": "blue",
    "Gelb": "yellow",
    "Grün": "green",
    "Rot": "red",
    "Grau": "gray",
    "Orange": "orange",
    "Schwarz": "black",
    "Transparent": "transparent",
    "Weiß": "white",
}
_BOX = ("manufacturer", "part_number", "name", "length", "width", "height", "weight", "divider_weight")


def box_colour(name: str | None) -> str | None:
    """pyERP's word for the colour in the name of a box type, None if there is none."""
    words = (name or "").casefold()
    return next((english for german, english in _COLOURS.items() if german.casefold() in words), None)


def box_description(
    manufacturer: str | None,
    part_number: str | None,
    name: str | None,
    length: str | None,
    width: str | None,
    height: str | None,
    weight: str | None,
    divider_weight: str | None,
) -> str:
    """Maker, part number, colour, measures in millimetres and weights in grams, as far as they are known."""
    measures = [
        f"{what}: {size}mm" for what, size in (("Length", length), ("Width", width), ("Height", height)) if size
    ]
    colour = box_colour(name)
    pieces = [
        " ".join(word.strip() for word in (manufacturer, part_number) if word and word.strip()),
        f"Color: {colour}" if colour else "",
        f"Dimensions: {', '.join(measures)}" if measures else "",
        f"Empty Weight: {weight}g" if weight else "",
        f"Divider Weight: {divider_weight}g" if divider_weight and divider_weight.strip("0.") else "",
    ]
    return " - ".join(piece for piece in pieces if piece)


def _describe(inputs: Inputs, _options: Options) -> Cells:
    return row_by_row(inputs, _BOX, box_description, pa.string())


STOCK_RULES = {"box_description": Rule(_describe, _BOX)}
