"""Secrets that are written out where ``env:NAME`` should be: found, refused, replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from taxi_nb.secrets import _forms
from taxi_nb.secrets._forms import (
    is_placeholder,
    is_plainly_secret,
    looks_random,
    looks_secret,
    words_of,
)
from taxi_nb.secrets.addresses import (
    has_credentials,
    is_placeholder_address,
    without_credentials,
)
from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.references import SecretError, secret_variables, value_of, variable_of

# Shorter values are left alone where only their looks speak for a secret.
_LONG = 8
_INSTEAD = (
    "put it into an environment variable, write env:NAME here, and let the notebook ask for it "
    "with secret(...) from taxi_nb"
)


def secret_mistake(name: str, value: Any) -> str | None:
    """Say what is wrong with a parameter as a secret, without its value, or return None."""
    if _written_out({name: value}):
        return f"must not be written out, by its name it is a secret: {_INSTEAD}"
    if any(has_credentials(text) for _, text in _texts({name: value})):
        return f"must not have a password or a signature in it: {_INSTEAD}"
    try:
        for variable in secret_variables(value):
            value_of(variable)
    except SecretError as error:
        return str(error)
    return None


def require_no_literal_secrets(parameters: Mapping[str, Any]) -> None:
    """Raise a `SecretError` with the names of parameters that are secrets and written out."""
    if found := _written_out(parameters):
        named = ", ".join(map(repr, dict.fromkeys(found)))
        raise SecretError(
            f"{named} must not be written out, by its name it is a secret: {_INSTEAD}"
        )


def _written_out(parameters: Mapping[str, Any]) -> list[str]:
    """Return the names of texts that are secrets by their names."""
    return [name for name, _ in _texts(parameters) if looks_secret(name.rpartition(".")[2])]


def _texts(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of parameters but for ``env:NAME``, a text within as ``a.b``."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _texts({f"{name}.{key}": item for key, item in value.items()})
        elif isinstance(value, list | tuple):
            for item in value:
                yield from _texts({name: item})
        elif isinstance(value, str) and value and not variable_of(value):
            yield name, value


def without_tokens(text: str) -> str:
    """Return a text without tokens and keys of well-known forms, and secrets in addresses."""
    return _Scrubbing().without_tokens(text)


def holds_secret(name: str, value: str) -> bool:
    """Whether a parameter or tag is a secret that is written out, by its name beyond doubt."""
    return is_plainly_secret(name) and not is_placeholder(value)


def scrubbed(text: str) -> tuple[str, int]:
    """Return code or prose without what looks like a secret, and how many were replaced.

    Replaced are values that parameters or variables of the environment hold, texts assigned to
    names that look like secrets or handed over with them, tokens and keys of well-known forms,
    and what is secret in addresses.
    """
    hidden = KNOWN.hide_in(text)
    scrubbing = _Scrubbing(int(hidden != text))
    for name, value in os.environ.items():
        # Whether or not a parameter names the variable.
        if looks_secret(name) and len(value) >= _LONG and value in hidden:
            scrubbing.count += 1
            hidden = hidden.replace(value, "***")
    hidden = scrubbing.without_tokens(hidden)
    lower = hidden.lower()
    for pattern, found_in, signs in (
        (_forms.AUTHORIZATION, _authorization, ("authorization", "bearer")),
        (_forms.CALLED, _named, ()),
        (_forms.COMMAND, _command, ()),
        (_forms.LINE, _line, ()),
        (_forms.ASSIGNED, _named, ()),
        (_forms.LOGIN, _login, ("login", "set_password", "auth")),
        (_forms.OTHERS, _other, ("curl", "--user", "</", "machine", "identified", "password")),
    ):
        if not signs or any(sign in lower for sign in signs):
            hidden = scrubbing.replace(pattern, found_in, hidden)
    return scrubbing.pairs(hidden), scrubbing.count


# Where in a match a secret is, as the name of a group, if it is one.
_Finding = Callable[[re.Match[str]], "str | None"]


class _Scrubbing:
    """Counts what it replaces."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def without_tokens(self, text: str) -> str:
        if "PRIVATE" in text or "PuTTY" in text or "AGE-SECRET" in text:
            text = self.replace(_forms.PRIVATE_KEY, lambda _: "0", text)
        text = self.replace(_forms.TOKEN, lambda _: "0", text)
        if "://" in text:
            text = self.replace(_forms.WEBHOOK, lambda _: "0", text)
            text = _forms.ADDRESS.sub(self._clean_address, text)
        return text

    def replace(self, pattern: re.Pattern[str], finding: _Finding, text: str) -> str:
        def starred(found: re.Match[str]) -> str:
            group = finding(found)
            if group is None:
                return found[0]
            self.count += 1
            place: int | str = 0 if group == "0" else group
            start, end = (edge - found.start() for edge in found.span(place))
            return f"{found[0][:start]}***{found[0][end:]}"

        return pattern.sub(starred, text)

    def _clean_address(self, found: re.Match[str]) -> str:
        address = re.sub(r"\\u0026|&amp;", "&", found[0])
        if not has_credentials(address) or is_placeholder_address(address):
            return found[0]
        self.count += 1
        return without_credentials(address)

    def pairs(self, text: str) -> str:
        """Replace in ``user, password = "me", "..."``: names in their order."""

        def starred(found: re.Match[str]) -> str:
            names = [name.strip() for name in found["names"].split(",")]
            if not any(map(is_plainly_secret, names)):
                return found[0]
            values = list(_TEXT.finditer(found["values"]))
            if len(values) != len(names):
                return found[0]
            whole, start = found[0], found.start("values") - found.start()
            for name, value in reversed(list(zip(names, values, strict=True))):
                if holds_secret(name, value["v"]) and value["v"] != "***":
                    self.count += 1
                    first, last = (start + edge for edge in value.span("v"))
                    whole = f"{whole[:first]}***{whole[last:]}"
            return whole

        return _forms.PAIRED.sub(starred, text)


_TEXT = re.compile(r"""(?P<o>\\"|"|')(?P<v>[^"'\\\n]*+)(?P=o)""")


def _value(found: re.Match[str]) -> str | None:
    groups = found.groupdict()
    return next((name for name in ("v1", "v2", "bare") if groups.get(name) is not None), None)


def _named(found: re.Match[str]) -> str | None:
    name, group = found["name"], _value(found)
    if group is None or not looks_secret(name) or is_placeholder(value := found[group]):
        return None
    if group != "bare":  # `key="zone"` and `token = "the"` are no secrets.
        return group if is_plainly_secret(name) or _is_no_word(name, value) else None
    if re.fullmatch(r"[A-Za-z_]\w*+(?:\.[A-Za-z_]\w*+)++", value):
        return None  # `token = row.token2` is code.
    if value.lower().startswith(words_of(name)[-1]):
        return None
    is_listed = "=" in found["between"] and found.string[found.end() : found.end() + 1] == ";"
    is_short = len(value) >= _LONG if " =" in found["between"] else len(value) >= _LONG - 2
    has_both = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    plainly = is_plainly_secret(name) or _is_no_word(name, value)
    return group if plainly and (is_listed or (is_short and has_both)) else None


def _is_no_word(name: str, value: str) -> bool:
    if name.lower().endswith("key"):
        return looks_random(value)
    return not re.fullmatch(r"[A-Za-z]{1,12}|\W.*", value)


def _command(found: re.Match[str]) -> str | None:
    name, group = found["name"], _value(found)
    if group is None or not looks_secret(name) or is_placeholder(value := found[group]):
        return None
    is_sure = found[0].startswith("%") or group != "bare" or found["between"] == "="
    return group if is_sure or not value.isalpha() else None


def _line(found: re.Match[str]) -> str | None:
    is_secret = looks_secret(found["name"]) and not is_placeholder(found["bare"])
    return "bare" if is_secret else None


def _authorization(found: re.Match[str]) -> str | None:
    value = found["value"]
    if is_placeholder(value) or re.fullmatch(r"[A-Za-z_]\w*+(?:\.[A-Za-z_]\w*+)++", value):
        return None
    if not found["scheme"] and (value.isalpha() or (len(value) < 2 * _LONG)):
        is_header = found[0].lower().startswith("authorization")
        return "value" if is_header and any(map(str.isdigit, value)) else None
    return "value"


def _login(found: re.Match[str]) -> str | None:
    group = _value(found)
    return None if group is None or is_placeholder(found[group]) else group


def _other(found: re.Match[str]) -> str | None:
    group = next(name for name in "abcd" if found[name] is not None)
    if group == "b" and not is_plainly_secret(found["name"]):
        return None
    return None if is_placeholder(found[group]) or found[group].isdigit() else group
