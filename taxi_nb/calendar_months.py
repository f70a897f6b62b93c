"""Calendar months as texts such as ``2021-03``."""

from __future__ import annotations

import re

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def is_month(value: object) -> bool:
    """Whether a value is a month, as a text such as ``"2021-03"``."""
    return isinstance(value, str) and _MONTH.fullmatch(value) is not None


def month_plus(month: str, count: int) -> str:
    """Return the month so many months later; earlier, if the number is negative.

    >>> month_plus("2021-12", 1), month_plus("2021-01", -13)
    ('2022-01', '2019-12')
    """
    year, number = map(int, month.split("-"))
    months = 12 * year + number - 1 + count
    return f"{months // 12:04}-{months % 12 + 1:02}"


def months_between(first: str, last: str) -> list[str]:
    """Return all months from the first to the last, both included.

    >>> months_between("2021-11", "2022-01")
    ['2021-11', '2021-12', '2022-01']
    """
    found = []
    while first <= last:
        found.append(first)
        first = month_plus(first, 1)
    return found
