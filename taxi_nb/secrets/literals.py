"""Secrets that are written out where an ``env:NAME`` should be: found, refused, replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from taxi_nb.secrets.addresses import has_credentials, without_credentials
from taxi_nb.secrets.values import SecretError, variable_of, without_secrets

__all__ = [
    "INSTEAD",
    "addresses_with_credentials",
    "literal_secrets",
    "looks_secret",
    "require_no_literal_secrets",
    "scrubbed",
]

# What is shorter is left alone where nothing but its look speaks for a secret.
_LONG = 8
# Nobody writes longer lines; in notebooks they are pictures.
_LONGEST_LINE = 10_000

# Nouns by which secrets are called, as words of a name: `keys_of`, `monkey`, `n_tokens` have none.
_NOUNS = {"key", "token"}
_ALWAYS = {
    "apikey",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "pwd",
    "secret",
    "secrets",
}
# `sort_key` orders, `key_column` and `password_file` say where something is, not what it is.
_HARMLESS_KEYS = {"cache", "foreign", "group", "index", "join", "order", "partition", "primary"}
_HARMLESS_KEYS |= {"public", "row", "sort"}
_ABOUT = {"column", "columns", "field", "file", "folder", "id", "length", "name", "names", "path"}
_ABOUT |= {"size", "type", "variable"}


def looks_secret(name: str) -> bool:
    """Whether what has this name is probably a secret: ``api_key``, ``dbPassword``, ``TOKEN``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
    if not words or words[-1] in _ABOUT:
        return False
    if _ALWAYS.intersection(words):
        return True
    return words[-1] in _NOUNS and not _HARMLESS_KEYS.intersection(words)


def literal_secrets(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of parameters whose names look like secrets and that have a text for value.

    Parameters within parameters are called ``outer.inner``.
    """
    for name, _ in _texts(parameters):
        if looks_secret(name.rpartition(".")[2]):
            yield name


def addresses_with_credentials(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of parameters that are addresses with a password or a signature in them."""
    for name, text in _texts(parameters):
        if has_credentials(text):
            yield name


def _texts(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is written out, ``env:NAME`` is not."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _texts({f"{name}.{key}": item for key, item in value.items()})
        elif isinstance(value, list | tuple):
            for item in value:
                yield from _texts({name: item})
        elif isinstance(value, str) and value and not variable_of(value):
            yield name, value


INSTEAD = (
    "put it into an environment variable, write env:NAME here, and let the notebook ask for it "
    "with secret(...) from taxi_nb"
)


def require_no_literal_secrets(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that look like secrets and are written out.

    Raises
    ------
    SecretError
        Naming all of them.
    """
    if found := list(dict.fromkeys(literal_secrets(parameters))):
        named = ", ".join(map(repr, found))
        raise SecretError(f"{named} must not be written out, by its name it is a secret: {INSTEAD}")


def _secrets_of_environment() -> Iterator[str]:
    """Yield what variables hold whose names look like secrets, though no parameter names them."""
    for name, value in os.environ.items():
        if looks_secret(name) and len(value) >= _LONG:
            yield value


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
    count = 0

    def replaced(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return "***"

    def assigned(found: re.Match[str]) -> str:
        nonlocal count
        value = found["quoted"] or found["bare"]
        if not looks_secret(found["name"]) or not _may_be_secret(value, found):
            return found[0]
        count += 1
        mark = found["quote"] or ""
        return f"{found['name']}{found['between']}{mark}***{mark}"

    def addressed(found: re.Match[str]) -> str:
        nonlocal count
        if not has_credentials(found[0]):
            return found[0]
        count += 1
        return without_credentials(found[0])

    hidden = without_secrets(text)
    count += hidden != text
    for value in _secrets_of_environment():
        if value in hidden:
            count += 1
            hidden = hidden.replace(value, "***")

    def replaced_in(line: str) -> str:
        if len(line) > _LONGEST_LINE:
            return line
        return _ASSIGNED.sub(assigned, _ADDRESS.sub(addressed, _TOKEN.sub(replaced, line)))

    lines = _PRIVATE_KEY.sub(replaced, hidden).splitlines(keepends=True)
    return "".join(map(replaced_in, lines)), count


def _may_be_secret(value: str, found: re.Match[str]) -> bool:
    if value.startswith(("env:", "[env:", "$", "***")) or len(value) < _LONG // 2:
        return False
    # Code is no secret, `token = tokens[0]`, nor are `key="zone"` and `CACHE_KEY = "trips"`.
    is_plain = found["quote"] is not None and not found["name"].lower().endswith("key")
    return is_plain or (len(value) >= _LONG and any(c.isdigit() for c in value))
