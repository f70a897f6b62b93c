"""Secrets that are written out where ``env:NAME`` should be: found, refused, replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from taxi_nb.secrets.addresses import has_credentials, without_credentials
from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.references import SecretError, secret_variables, value_of, variable_of

# Shorter values are left alone where only their looks speak for a secret.
_LONG = 8
# Nobody writes longer lines; in notebooks they are pictures.
_LONGEST_LINE = 10_000
_INSTEAD = (
    "put it into an environment variable, write env:NAME here, and let the notebook ask for it "
    "with secret(...) from taxi_nb"
)

# Last words of a secret's name; `keys_of`, `monkey` and `n_tokens` do not end in them.
_NOUNS = {"key", "token"}
_ALWAYS = {"apikey", "credential", "credentials", "passphrase", "passwd", "password", "passwords"}
_ALWAYS |= {"pwd", "secret", "secrets"}
# `sort_key` orders, `key_column` and `password_file` say where something is, not what it is.
_HARMLESS_KEYS = {"cache", "foreign", "group", "index", "join", "order", "partition", "primary"}
_HARMLESS_KEYS |= {"public", "row", "sort"}
_ABOUT = {"column", "columns", "field", "file", "folder", "id", "length", "name", "names", "path"}
_ABOUT |= {"size", "type", "variable"}


def looks_secret(name: str) -> bool:
    """Whether this is probably a secret's name: ``api_key``, ``dbPassword``, ``TOKEN``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
    if not words or words[-1] in _ABOUT:
        return False
    if _ALWAYS.intersection(words):
        return True
    return words[-1] in _NOUNS and not _HARMLESS_KEYS.intersection(words)


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


_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_TOKEN = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|hf_[A-Za-z0-9]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"
)
# Names are taken whole (``*+``): a long word, such as a picture in base64, is gone through once.
_ASSIGNED = re.compile(
    r"""(?<![\w.-])(?P<name>[A-Za-z_][\w.-]*+)"""
    r"""(?P<between>\\?["']?\s*(?::\s*[\w\[\]| ]{1,40}?\s*)?[:=]\s*)"""
    r"""(?:(?P<quote>\\?["'])(?P<quoted>[^"'\\\n]+)(?P=quote)|(?P<bare>[^\s"'\\,(){}\[\]]+))"""
)
_ADDRESS = re.compile(r"""(?<![\w+.-])[A-Za-z][\w+.-]*+://[^\s"'<>\\]+""")


def scrubbed(text: str) -> tuple[str, int]:
    """Return code or prose without what looks like a secret, and how many were replaced.

    Replaced are values that parameters or variables of the environment hold, texts assigned to
    names that look like secrets, tokens and keys of well-known forms, and what is secret in
    addresses.
    """
    hidden = KNOWN.hide_in(text)
    count = int(hidden != text)
    for name, value in os.environ.items():
        # Whether or not a parameter names the variable.
        if looks_secret(name) and len(value) >= _LONG and value in hidden:
            count += 1
            hidden = hidden.replace(value, "***")

    def replace(pattern: re.Pattern[str], by: Callable[[re.Match[str]], str], within: str) -> str:
        def counted(found: re.Match[str]) -> str:
            nonlocal count
            replacement = by(found)
            count += replacement != found[0]
            return replacement

        return pattern.sub(counted, within)

    lines = replace(_PRIVATE_KEY, _stars, hidden).splitlines(keepends=True)
    for number, line in enumerate(lines):
        if len(line) <= _LONGEST_LINE:
            line = replace(_TOKEN, _stars, line)
            line = replace(_ADDRESS, _clean_address, line)
            lines[number] = replace(_ASSIGNED, _clean_assignment, line)
    return "".join(lines), count


def _stars(_: re.Match[str]) -> str:
    return "***"


def _clean_address(found: re.Match[str]) -> str:
    return without_credentials(found[0]) if has_credentials(found[0]) else found[0]


def _clean_assignment(found: re.Match[str]) -> str:
    if not looks_secret(found["name"]) or not _may_be_secret(found):
        return found[0]
    mark = found["quote"] or ""
    return f"{found['name']}{found['between']}{mark}***{mark}"


def _may_be_secret(found: re.Match[str]) -> bool:
    value = found["quoted"] or found["bare"]
    if value.startswith(("env:", "[env:", "$", "***")) or len(value) < _LONG // 2:
        return False
    # Code is no secret, `token = tokens[0]`, nor are `key="zone"` and `CACHE_KEY = "trips"`.
    is_plain = found["quote"] is not None and not found["name"].lower().endswith("key")
    return is_plain or (len(value) >= _LONG and any(c.isdigit() for c in value))
