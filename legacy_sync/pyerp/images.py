"""Which of the files and articles of an image record does pyERP show?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pyarrow as pa

from legacy_sync.pyerp.rule import Inputs, Options, Rule, row_by_row
from legacy_sync.sync.casts import to_text
from legacy_sync.sync.cells import Cells, map_unique

_FOR_SCREENS = ("png", "jpg_k")
_THUMBNAIL_WIDTH = 500


def image_url(original: str | None, exported: str | None) -> str | None:
    """The address of the original file, else of the first one exported for screens; null if there is none."""
    files = _objects(original)
    if files and files[0].get("file_url"):
        return str(files[0]["file_url"])
    return next((str(f["image_url"]) for f in _for_screens(exported)), None)


def image_thumbnail(exported: str) -> str | None:
    """The first file exported for screens that is not wider than 500 pixels."""
    return next((str(f["image_url"]) for f in _for_screens(exported) if _width(f) <= _THUMBNAIL_WIDTH), None)


def image_articles(articles: str) -> str:
    """The articles with a number, as pyERP keeps them."""
    found = [{"sku": number, "is_front": bool(a.get("front"))} for a in _objects(articles) if (number := _number(a))]
    return orjson.dumps({"articles": found}).decode()


def image_article_numbers(articles: str) -> str | None:
    """The numbers of the articles, a line each, in their order."""
    return "\n".join(number for a in _objects(articles) if (number := _number(a))) or None


def image_is_front(articles: str) -> bool:
    """Whether any article shows its front."""
    return any(bool(a.get("front")) for a in _objects(articles))


def _for_screens(exported: str | None) -> list[dict[str, Any]]:
    return [f for f in _objects(exported) if f.get("type") in _FOR_SCREENS and f.get("image_url")]


def _width(file: dict[str, Any]) -> float:
    resolution = file.get("resolution")
    first = resolution[0] if isinstance(resolution, list) and resolution else None
    return float(first) if isinstance(first, int | float) else float("inf")


def _number(article: dict[str, Any]) -> str:
    value = article.get("article_number") or article.get("number")
    return str(value).strip() if value is not None else ""


def _objects(text: str | None) -> list[dict[str, Any]]:
    """The objects of a JSON text, one or a list; nothing for anything else."""
    try:
        found = orjson.loads(text or "null")
    except orjson.JSONDecodeError:
        return []
    return [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, dict)]


def _of_articles(make: Callable[[str], Any], type_: pa.DataType, inputs: Inputs, _options: Options) -> Cells:
    cells = inputs["articles"]
    return map_unique(cells.with_values(to_text(cells.values)), make, type_)


def _thumbnail(inputs: Inputs, _options: Options) -> Cells:
    cells = inputs["exported"]
    return map_unique(cells.with_values(to_text(cells.values)), image_thumbnail, pa.string())


def _url(inputs: Inputs, _options: Options) -> Cells:
    return row_by_row(inputs, ("original", "exported"), image_url, pa.string())


IMAGE_RULES = {
    "image_url": Rule(_url, ("original", "exported")),
    "image_thumbnail": Rule(_thumbnail, ("exported",)),
    "image_articles": Rule(partial(_of_articles, image_articles, pa.string()), ("articles",)),
    "image_article_numbers": Rule(partial(_of_articles, image_article_numbers, pa.string()), ("articles",)),
    "image_is_front": Rule(partial(_of_articles, image_is_front, pa.bool_()), ("articles",)),
}
