"""The checks that data have to pass where trips are loaded: their names, limits and mistakes.

Nothing here needs numbers or frames, so that a pipeline file is checked at once.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NoReturn

from taxi_nb.close_names import close_to
from taxi_nb.tracking.inputs import used_variable
from taxi_nb.tracking.names import CHECKS_VARIABLE
from taxi_nb.trips.errors import TripsError

Place = tuple[int | str, ...]


@dataclass(frozen=True)
class Limit:
    """What a check allows: beyond `bound` data fail, beyond `warn` they warn."""

    bound: float | None
    warn: float | None
    # Whether less is beyond it, and whether these are shares, to be shown in percent.
    is_least: bool
    is_share: bool

    def verdict(self, value: float) -> Literal["pass", "warn", "fail"]:
        """Judge a value."""
        if self._is_beyond(self.bound, value):
            return "fail"
        return "warn" if self._is_beyond(self.warn, value) else "pass"

    def words(self, verdict: str) -> str:
        """Say the limit by which a value got its verdict."""
        if self.bound is None or verdict == "warn":
            return f"warns {'below' if self.is_least else 'above'} {self._shown(self.warn)}"
        return f"at {'least' if self.is_least else 'most'} {self._shown(self.bound)}"

    def _is_beyond(self, limit: float | None, value: float) -> bool:
        return limit is not None and (value < limit if self.is_least else value > limit)

    def _shown(self, limit: float | None) -> str:
        assert limit is not None
        return f"{100 * limit:g} %" if self.is_share else f"{limit:,.0f}"


@dataclass(frozen=True)
class Checks:
    """The limits by the names of checks, and those that are let pass, with the reason."""

    limits: Mapping[str, Limit] = field(default_factory=dict)
    accepted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kind:
    """How a check's limit is written."""

    key: str  # The key of its bound: max or min.
    read: Callable[[Any], float]  # Raises a ValueError.
    is_share: bool = True
    # Checks within it, with names of their own.
    within: Mapping[str, _Kind] = field(default_factory=dict)


def _share(value: Any, most: float = 1.0) -> float:
    """Read ``5%``, or ``0.05``: a bare 5 could be either."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())):
        share = float(Decimal(found[1]) / 100)  # As near to it as counts divided are.
        if share <= most:
            return share
    elif _is_number(value) and (value == 0 or 0 < value < 1):
        return float(value)
    raise ValueError(f"must be a share such as 5% or 0.05, got {value!r}")


def _any_share(value: Any) -> float:
    """Read a share that may be above all, such as ``150%``."""
    return _share(value, math.inf)


def _count(value: Any) -> float:
    if type(value) is int and value >= 0:
        return value
    raise ValueError(f"must be a whole number of 0 or more, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_KINDS: Mapping[str, _Kind] = {
    "left_out": _Kind("max", _share),
    "missing_days": _Kind("max", _count, is_share=False),
    "not_positive": _Kind("max", _share),
    "rows": _Kind("min", _count, False, {"against_last": _Kind("max", _any_share)}),
    "zones_new": _Kind("max", _share),
}


def check_names_and_mistakes(
    written: Mapping[str, Any],
) -> tuple[list[str], list[tuple[Place, str]]]:
    """Return the names of the checks that are written, and what is wrong: where, and a sentence.

    >>> check_names_and_mistakes({"left_out": {"max": "5%"}, "missing_days": 0})
    (['left_out', 'missing_days'], [])
    >>> check_names_and_mistakes({"left_out": 5})[1]
    [(('left_out',), 'must be a share such as 5% or 0.05, got 5')]
    """
    mistakes: list[tuple[Place, str]] = []
    limits = _limits(written, lambda place, message: mistakes.append((place, message)))
    return list(limits), mistakes


def checks_of(written: Mapping[str, Any], accepted: Mapping[str, str] | None = None) -> Checks:
    """Return checks as a pipeline file writes them; `TripsError` names the first mistake."""
    if not isinstance(written, Mapping):
        raise TripsError(f"`checks` must be a dict such as {{'left_out': '5%'}}, got: {written!r}")

    def wrong(place: Place, message: str) -> NoReturn:
        raise TripsError(f"`checks`: {'.'.join(map(str, place))} {message}")

    return Checks(_limits(written, wrong), accepted or {})


def checks_in_force(given: Mapping[str, Any] | Checks | None) -> Checks:
    """Return the checks of the pipeline's step, with those that a call gives in their place."""
    used_variable(CHECKS_VARIABLE)
    try:
        known = json.loads(os.environ.get(CHECKS_VARIABLE) or "{}")
        of_step = checks_of(known.get("checks", {}), known.get("accepted", {}))
    except (AttributeError, json.JSONDecodeError):
        must = "must be as a pipeline or %params sets it: unset it, or use `checks`"
        raise TripsError(f"the environment variable {CHECKS_VARIABLE} {must}") from None
    own = given if isinstance(given, Checks) else checks_of({} if given is None else given)
    return Checks({**of_step.limits, **own.limits}, {**of_step.accepted, **own.accepted})


_Wrong = Callable[[Place, str], Any]


def _limits(written: Mapping[str, Any], wrong: _Wrong) -> dict[str, Limit]:
    found: dict[str, Limit] = {}
    for name, value in written.items():
        outer, _, key = str(name).partition(".")
        if key and outer in _KINDS:
            wrong((name,), f"is written within {outer}, as in {outer}: {{{key}: 50%}}")
            continue
        if name not in _KINDS:
            wrong((name,), f"is no check{_hint(name, _KINDS)} Checks are {', '.join(_KINDS)}")
            continue
        kind = _KINDS[name]
        if kind.within and not isinstance(value, Mapping):
            known = ", ".join((kind.key, "warn", *kind.within))
            wrong((name,), f"must say what it limits, by {known}: got {value!r}")
            continue
        given = dict(value) if isinstance(value, Mapping) else value
        for key, inner in kind.within.items():
            if key in given and (limit := _limit((name, key), inner, given.pop(key), wrong)):
                found[f"{name}.{key}"] = limit
        only_within = kind.within and value and not given
        if not only_within and (limit := _limit((name,), kind, given, wrong)):
            found[name] = limit
    return dict(sorted(found.items()))


def _limit(place: Place, kind: _Kind, value: Any, wrong: _Wrong) -> Limit | None:
    given = value if isinstance(value, Mapping) else {kind.key: value}
    known = (kind.key, "warn", *kind.within)
    numbers: dict[str, float] = {}
    for key, one in given.items():
        at = (*place, key) if isinstance(value, Mapping) else place
        if key not in known:
            wrong(at, f"is not known{_hint(key, known)} Known are {', '.join(known)}")
            return None
        try:
            numbers[key] = kind.read(one)
        except ValueError as error:
            wrong(at, str(error))
            return None
    if not numbers:
        wrong(place, f"must say a limit: {' or '.join(known)}")
        return None
    is_least = kind.key == "min"
    limit = Limit(numbers.get(kind.key), numbers.get("warn"), is_least, kind.is_share)
    if (len(numbers) == 2 and limit.verdict(numbers["warn"]) == "fail") or _are_equal(numbers):
        must = "above min" if is_least else "below max"
        wrong((*place, "warn"), f"must be {must}, or it never warns: got {given['warn']!r}")
        return None
    return limit


def _are_equal(numbers: Mapping[str, float]) -> bool:
    return len(numbers) > len(set(numbers.values()))


def _hint(name: object, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    return close_to(name, known) or "."
