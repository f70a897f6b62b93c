"""Values of a pipeline file that speak of months relative to one: ``{month-1}``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taxi_nb.calendar_months import is_month, month_plus, months_between
from taxi_nb.pipeline.parameters import Parameter

LATEST = "latest"
_ONE = r"\{month(?:([+-]\d{1,3}))?\}"
_RANGE = re.compile(rf"{_ONE}\.\.{_ONE}")
# What was meant to be one, well written or not.
_MEANT = re.compile(r"\{month\s*(?:[+-][^{}]*)?\}")


# Finds the newest month there is, from the values of a pipeline's parameters; ValueError if it
# cannot be known.
NewestMonth = Callable[[Mapping[str, Any]], str]


class RelativeMonthError(ValueError):
    """A value is not written as relative months are; the message says what would be right."""


def speaks_of_month(value: Any) -> bool:
    """Whether there is a month, relative to one, in some of its texts."""
    if isinstance(value, list | tuple):
        return any(map(speaks_of_month, value))
    if isinstance(value, Mapping):
        return bool(_without_quotes(value)) or any(map(speaks_of_month, value.values()))
    return isinstance(value, str) and bool(_MEANT.search(value))


def is_relative(value: Any) -> bool:
    """Whether a value can only mean a month relative to one; a text around one may be a name."""
    if isinstance(value, list | tuple):
        return any(map(is_relative, value))
    if isinstance(value, Mapping):
        return bool(_without_quotes(value)) or any(map(is_relative, value.values()))
    return isinstance(value, str) and bool(re.fullmatch(rf"{_ONE}(\.\.{_ONE})?", value))


class MonthText(str):
    """A month that was written as relative; where a list is declared it is a list of one."""


@dataclass(frozen=True)
class RelativeMonths:
    """Puts months in place of what is relative to one.

    >>> months = RelativeMonths("2023-03")
    >>> months.put_into("{month-3}..{month-2}"), months.put_into("scores-{month}.parquet")
    (['2022-12', '2023-01'], 'scores-2023-03.parquet')
    """

    month: str

    def put_into(self, value: Any) -> Any:
        """Return a value with months: a range is a list, and its months one by one in a list."""
        if isinstance(value, list):
            found: list[Any] = []
            for item in value:
                part = self.put_into(item)
                found += part if isinstance(item, str) and isinstance(part, list) else [part]
            return found
        if isinstance(value, Mapping):
            if name := _without_quotes(value):
                raise RelativeMonthError(f'must be in quotes, "{{{name}}}": YAML has braces, too')
            return {name: self.put_into(part) for name, part in value.items()}
        return self._in_text(value) if isinstance(value, str) else value

    def _in_text(self, text: str) -> str | list[str]:
        if match := _RANGE.fullmatch(text):
            first, last = (month_plus(self.month, int(shift or 0)) for shift in match.groups())
            if first > last:
                raise RelativeMonthError(f"{text} ends before it begins")
            return months_between(first, last)
        if match := re.fullmatch(_ONE, text):
            return MonthText(month_plus(self.month, int(match[1] or 0)))
        filled = re.sub(_ONE, lambda found: month_plus(self.month, int(found[1] or 0)), text)
        if wrong := _MEANT.search(filled):
            raise RelativeMonthError(
                f"{wrong[0]} must be such as {{month}}, {{month-1}} or {{month-3}}..{{month-1}}"
            )
        return filled


def chosen_month(
    given: Sequence[str],
    default: str | None,
    values: Any,
    settings: Mapping[str, Any],
    newest: NewestMonth | None,
) -> str | None:
    """Return the month that values are relative to; None if nothing is.

    `given` is what a person named, `default` what the file does. Raises RelativeMonthError.
    """
    month = given[-1] if given else default
    if len(given) > 1:
        raise RelativeMonthError("is given twice")
    if month is None:
        if is_relative(values):
            raise RelativeMonthError(
                "is needed: the file has values such as {month-1}. Give it by --month 2023-03 "
                f"or --month {LATEST}"
            )
        return None
    if given and not speaks_of_month(values):
        raise RelativeMonthError("has no use: nothing in the file is relative to a month")
    if month == LATEST:
        if newest is None:
            raise RelativeMonthError(f"is {LATEST}, and has to be a month here, such as 2023-03")
        try:
            return newest(settings)
        except ValueError as error:
            raise RelativeMonthError(f"{LATEST} cannot be found out: {error}") from None
    if not is_month(month):
        raise RelativeMonthError(f"must be a month such as 2023-03, or {LATEST}, got {month!r}")
    return month


def as_declared(parameter: Parameter | None, value: Any) -> Any:
    """Return a value as a notebook declares it: one month may be given for a list of them."""
    value, is_month_text = _plain(value), isinstance(value, MonthText)
    if is_month_text and parameter and parameter.mistake(value) and not parameter.mistake([value]):
        return [value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return str(value) if isinstance(value, MonthText) else value


def _without_quotes(value: Mapping[Any, Any]) -> str | None:
    """Return what ``{month-1}`` names that was meant as a text; YAML takes it for a mapping."""
    name, *others = [*value, None]
    is_one = others == [None] and value[name] is None and isinstance(name, str)
    return name if is_one and re.fullmatch(_ONE, f"{{{name}}}") else None
