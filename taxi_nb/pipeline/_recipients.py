"""Who is told of a run: the key `notify` of a pipeline file, and the user's own variable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taxi_nb.close_names import close_to
from taxi_nb.secrets.references import variable_of

EVENTS = ("failed", "check_failed", "refused", "promoted", "retrain")
VARIABLE = "TAXI_NB_NOTIFY"
# What it says where nobody is to be told, whatever the file says.
OFF = "off"
# What is wrong, and where.
Mistake = tuple[tuple[int | str, ...], str]

# Without the address: it may be a secret.
_NO_ADDRESS = (
    "must be env:NAME and not the address itself, which may hold a secret: this file is kept with "
    "every run. Put the address into the environment, such as NAME='mailtos://...', and write "
    "env:NAME here"
)


@dataclass(frozen=True)
class Recipient:
    """The environment variable that has an address, and the events that are told there."""

    variable: str
    events: tuple[str, ...] = EVENTS


def recipients_of(written: Any, mistakes: list[Mistake]) -> tuple[Recipient, ...]:
    """Return the recipients that a file names; what is wrong is added to `mistakes`.

    >>> recipients_of([{"to": "env:OPS_MAIL", "on": ["failed"]}], [])
    (Recipient(variable='OPS_MAIL', events=('failed',)),)
    """
    if written is None:
        return ()
    if not isinstance(written, list):
        mistakes.append(((), "must be a list, such as [env:OPS_MAIL] or [{to: .., on: [failed]}]"))
        return ()
    return tuple(
        recipient
        for number, entry in enumerate(written)
        for recipient in _recipients((number,), entry, mistakes)
    )


def own_recipients(value: str) -> tuple[Recipient, ...]:
    """Return those of the user's variable: addresses, or ``env:NAME``, with spaces between."""
    words = value.split()
    named = [Recipient(variable) for word in words if (variable := variable_of(word))]
    has_addresses = len(named) < len(words)
    return (*named, *([Recipient(VARIABLE)] if has_addresses else []))


def _recipients(
    place: tuple[int | str, ...], entry: Any, mistakes: list[Mistake]
) -> Iterator[Recipient]:
    keys = {"to": entry, "on": EVENTS} if not isinstance(entry, Mapping) else entry
    is_short = not isinstance(entry, Mapping)
    for key in keys.keys() - {"to", "on"}:
        hint = close_to(str(key), ["to", "on"])
        mistakes.append(((*place, key), f"is not a known key{hint}; known are to, on"))
    if "to" not in keys:
        mistakes.append(((*place, "to"), "is missing: env:NAME, or a list of them"))
    events = _events((*place, "on"), keys.get("on", EVENTS), mistakes)
    addresses = _as_list(keys.get("to", []))
    for number, address in enumerate(addresses):
        at = place if is_short else (*place, "to", *([number] if len(addresses) > 1 else []))
        if (variable := variable_of(address)) is None:
            mistakes.append((at, _NO_ADDRESS))
        else:
            yield Recipient(variable, events)


def _events(place: tuple[int | str, ...], value: Any, mistakes: list[Mistake]) -> tuple[str, ...]:
    given = _as_list(value)
    known = ", ".join(EVENTS)
    if not given:
        mistakes.append((place, f"names no event; they are {known}"))
    for event in given:
        if event not in EVENTS:
            hint = close_to(str(event), list(EVENTS))
            mistakes.append((place, f"{event!r} is no event{hint}; they are {known}"))
    return tuple(map(str, given))


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
