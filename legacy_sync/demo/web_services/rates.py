"""What would Frankfurter answer? Rates of the European Central Bank for every working day, invented but steady.

Like the real service it leaves out days where more than 90 are asked for at once: it then gives one in a week.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from legacy_sync.demo.web_services.server import Reply, Request

BASE = "EUR"
CURRENCIES = {
    "AUD": ("Australian Dollar", 1.72),
    "BRL": ("Brazilian Real", 6.18),
    "CAD": ("Canadian Dollar", 1.55),
    "CHF": ("Swiss Franc", 0.953),
    "CNY": ("Chinese Renminbi Yuan", 7.85),
    "CZK": ("Czech Koruna", 24.97),
    "DKK": ("Danish Krone", 7.461),
    "EUR": ("Euro", 1.0),
    "GBP": ("British Pound", 0.8365),
    "HKD": ("Hong Kong Dollar", 8.41),
    "HUF": ("Hungarian Forint", 402.1),
    "IDR": ("Indonesian Rupiah", 17999.99),
    "ILS": ("Israeli New Sheqel", 4.01),
    "INR": ("Indian Rupee", 92.49),
    "ISK": ("Icelandic Króna", 142.7),
    "JPY": ("Japanese Yen", 161.6),
    "KRW": ("South Korean Won", 1590.2),
    "MXN": ("Mexican Peso", 22.03),
    "MYR": ("Malaysian Ringgit", 4.80),
    "NOK": ("Norwegian Krone", 11.41),
    "NZD": ("New Zealand Dollar", 1.90),
    "PHP": ("Philippine Peso", 61.83),
    "PLN": ("Polish Złoty", 4.184),
    "RON": ("Romanian Leu", 4.977),
    "SEK": ("Swedish Krona", 10.85),
    "SGD": ("Singapore Dollar", 1.4519),
    "THB": ("Thai Baht", 36.72),
    "TRY": ("Turkish Lira", 41.04),
    "USD": ("United States Dollar", 1.0815),
    "ZAR": ("South African Rand", 19.91),
}
_FIRST_DAY = date(2025, 1, 2)
_ALL_DAYS = 90
_RANGE = re.compile(r"v1/(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)?")


class Rates:
    """The service; the same seed always gives the same rates."""

    def __init__(self, seed: int = 1, today: date | None = None) -> None:
        self.today = today or datetime.now(UTC).date()
        self.days = dict(_walk(random.Random(f"{seed}/rates"), self.today))

    def answer(self, request: Request, base: str) -> Reply:
        """GET v1/currencies, v1/latest and v1/<from>..<to>."""
        if request.params.get("base", BASE) != BASE or request.method != "GET":
            return Reply({"message": "the stand-in knows only rates of the euro"}, 404)
        if request.path == "v1/currencies":
            return Reply({code: name for code, (name, _) in CURRENCIES.items()})
        if request.path == "v1/latest":
            day = max(self.days)
            return Reply({"amount": 1.0, "base": BASE, "date": day.isoformat(), "rates": self.days[day]})
        span = _RANGE.fullmatch(request.path)
        if span is None:
            return Reply({"message": "not found"}, 404)
        first = date.fromisoformat(span[1])
        last = date.fromisoformat(span[2]) if span[2] else self.today
        return Reply(self._between(first, last))

    def _between(self, first: date, last: date) -> dict[str, object]:
        days = [day for day in self.days if first <= day <= last]
        if (last - first).days >= _ALL_DAYS:
            days = [day for day in days if day.weekday() == 0]
        shown = {day.isoformat(): self.days[day] for day in days}
        ends = {"start_date": first.isoformat(), "end_date": last.isoformat()}
        return {"amount": 1.0, "base": BASE, **ends, "rates": shown}


def _walk(dice: random.Random, today: date) -> Iterator[tuple[date, dict[str, float]]]:
    """Each working day a little up or down."""
    rates = {code: rate for code, (_, rate) in CURRENCIES.items() if code != BASE}
    day = _FIRST_DAY
    while day <= today:
        if day.weekday() < 5:
            rates = {code: rate * dice.uniform(0.996, 1.004) for code, rate in rates.items()}
            yield day, {code: float(f"{rate:.5g}") for code, rate in rates.items()}
        day += timedelta(days=1)
