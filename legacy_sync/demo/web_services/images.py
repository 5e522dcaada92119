"""What would the image service answer? Original files, what was exported from them, and the articles they show."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from legacy_sync.demo.four_d_server.store import Row
from legacy_sync.demo.web_services.server import Reply, Request

USER, PASSWORD = "demo", "demo-password"
PUBLIC = "https://cms.example.com"
WHOLE_COUNT = 2489
_WHOLE_VARIANTS = 4300
_LARGEST_PAGE = 500
_KINDS = ("Produktfoto",) * 7 + ("Markt-Messe-Shop", "Szene", "Illustration")


class ImageCms:
    """The service: `files` is what it has."""

    def __init__(self, files: list[Row]) -> None:
        self.files = files

    @classmethod
    def beside(cls, seed: int, numbers: Sequence[str]) -> ImageCms:
        """With images of the variants that have these numbers."""
        count = max(12, round(WHOLE_COUNT * len(numbers) / _WHOLE_VARIANTS))
        return cls(list(_files(random.Random(f"{seed}/images"), numbers, min(count, WHOLE_COUNT))))

    def answer(self, request: Request, base: str) -> Reply:
        """GET api/all-files-and-articles/ with page and page_size."""
        if request.login != (USER, PASSWORD):
            return Reply({"detail": "Invalid username/password."}, 401, {"WWW-Authenticate": 'Basic realm="api"'})
        if request.method != "GET" or request.path != "api/all-files-and-articles/":
            return Reply({"detail": "Not found."}, 404)
        page, size = int(request.params.get("page", 1)), int(request.params.get("page_size", _LARGEST_PAGE))
        size = min(size, _LARGEST_PAGE)
        results = self.files[(page - 1) * size : page * size]
        if not results and page > 1:
            return Reply({"detail": "Invalid page."}, 404)
        following = f"{base}/{request.path}?page={page + 1}&page_size={size}" if page * size < len(self.files) else None
        return Reply({"count": len(self.files), "next": following, "previous": None, "results": results})


def _files(dice: random.Random, numbers: Sequence[str], count: int) -> Iterator[Row]:
    for number in range(count):
        name = f"{PUBLIC}/media/{number + 1:05d}"
        original: Row = {"file_id": number + 1, "type": dice.choice(_KINDS), "format": "tif", "file_url": f"{name}.tif"}
        if number % 50 == 17:
            del original["file_url"]
        exported = [
            {"type": "png", "resolution": [4000, 3000], "image_url": f"{name}.png"},
            {"type": "jpg_g", "resolution": [1600, 1200], "image_url": f"{name}_g.jpg"},
            {"type": "jpg_k", "resolution": [200, 150], "image_url": f"{name}_k.jpg"},
        ]
        yield {
            "original_file": original,
            "exported_files": exported if number % 97 else [],
            "articles": _articles(dice, numbers),
        }


def _articles(dice: random.Random, numbers: Sequence[str]) -> list[Row]:
    """Mostly one article, sometimes a group picture, sometimes nobody knows; both spellings of the number occur."""
    if not numbers or dice.random() < 0.05:
        return []
    chosen = dice.sample(numbers, min(len(numbers), dice.choice((1, 1, 1, 1, 2, 3))))
    spelling = dice.choice(("number", "article_number"))
    articles: list[Row] = [{spelling: number, "front": place == 0} for place, number in enumerate(chosen)]
    if dice.random() < 0.03:
        articles.insert(0, {"front": True})
    return articles
