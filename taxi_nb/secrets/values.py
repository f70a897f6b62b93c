"""Secrets: parameters that name an environment variable, and texts without what it holds.

A secret is written as ``env:NAME`` wherever parameters are written, and a notebook asks for its
value with `secret`. From then on the value is replaced by ``[env:NAME]`` in all that this process
shows or logs. A value that is encoded, encrypted or taken apart before it is shown is not found.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = [
    "SecretError",
    "are_known",
    "hide_secrets_in",
    "secret",
    "secret_variables",
    "secrets_in",
    "value_of",
    "variable_of",
    "without_secrets",
]

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
# What is shorter would be found in texts that have nothing to do with it.
_SHORTEST = 4

# Variable -> all the ways in which its value may be written.
_known: dict[str, set[str]] = {}
# The kernel's session, once its messages are looked through.
_hiding: list[Any] = []


class SecretError(ValueError):
    """A secret that is not there, or written where all can read it; the message never has it."""


def secret(parameter: str) -> str:
    """Return the value of a parameter that names an environment variable.

    In a notebook: ``token = secret(api_token)``, where the parameters cell says
    ``api_token: str = "env:API_TOKEN"``. The value is for use alone: outputs, runs and
    artifacts get ``[env:API_TOKEN]`` in its place. That it changed does not make a pipeline's
    step run again: a secret opens doors, results do not come from it.

    Parameters
    ----------
    parameter : str
        ``env:NAME``.

    Returns
    -------
    str
        What the variable holds.

    Raises
    ------
    SecretError
        If `parameter` is no such reference, or the variable is not set or too short to hide.
    """
    variable = variable_of(parameter)
    if variable is None:
        raise SecretError(
            "`parameter` must be env:NAME, where NAME is the environment variable that holds the "
            "secret, got: a text of another form"
        )
    value = value_of(variable)
    _hide_in_outputs()
    _hide_in_mlflow()
    return value


def value_of(variable: str) -> str:
    """Return what a variable holds, and remember to hide it.

    Raises
    ------
    SecretError
        If it is not set, or too short to hide.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise SecretError(
            f"the environment variable {variable} is not set, and a parameter says env:{variable}"
        )
    if len(value.strip()) < _SHORTEST:
        raise SecretError(
            f"the environment variable {variable} must hold {_SHORTEST} characters or more: "
            "what is shorter cannot be hidden in texts"
        )
    _known.setdefault(variable, set()).update(_spellings(value))
    return value


def _spellings(value: str) -> Iterator[str]:
    """Yield a value as texts, code, JSON, addresses and pages have it."""
    for one in {value, value.strip()}:
        yield from (one, repr(one)[1:-1], quote(one), quote(one, safe=""), quote_plus(one))
        yield from (json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1])
        # A JSON text within JSON, such as a notebook's cell.
        yield json.dumps(json.dumps(one)[1:-1])[1:-1]
        for escaped in _in_pages(one):
            yield from (escaped, json.dumps(escaped)[1:-1])
            yield json.dumps(escaped, ensure_ascii=False)[1:-1]


def _in_pages(value: str) -> Iterator[str]:
    """Yield a value as HTML has it; of quotes pandas makes nothing, others different things."""
    escaped = html.escape(value, quote=False)
    for double in ('"', "&quot;", "&#34;"):
        for single in ("'", "&#x27;", "&#39;"):
            yield escaped.replace('"', double).replace("'", single)


def variable_of(value: Any) -> str | None:
    """Return NAME where a value is ``env:NAME``, else None."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def secret_variables(value: Any) -> Iterator[str]:
    """Yield the variables that parameters name as ``env:NAME``, however deep."""
    if (variable := variable_of(value)) is not None:
        yield variable
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secret_variables(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secret_variables(item)


def without_secrets(value: Any) -> Any:
    """Return a text, or what JSON can hold, with ``[env:NAME]`` for the values known so far."""
    if not _known:
        return value
    if isinstance(value, str):
        for variable, spellings in _known.items():
            for spelling in sorted(spellings, key=len, reverse=True):
                value = value.replace(spelling, f"[env:{variable}]")
        return value
    if isinstance(value, Mapping):
        return {without_secrets(key): without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(without_secrets, value))
    return value


def are_known() -> bool:
    """Whether there is anything to hide."""
    return bool(_known)


def hide_secrets_in(file: Path) -> None:
    """Write a text file again without secrets, if it has any."""
    if _known and secrets_in(content := file.read_bytes()):
        file.write_text(without_secrets(content.decode("utf-8", "replace")), "utf-8")


def secrets_in(content: bytes) -> list[str]:
    """Return the variables whose values a file's content has."""
    return [
        variable
        for variable, spellings in _known.items()
        if any(spelling.encode() in content for spelling in spellings)
    ]


def _hide_in_outputs() -> None:
    """Let the kernel send no message with a secret in it: outputs, errors, replies."""
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    session = getattr(getattr(shell, "kernel", None), "session", None)
    if session is None or session in _hiding:
        return
    _hiding.append(session)
    send = session.send

    @wraps(send)
    def send_hidden(
        stream: Any, msg_or_type: Any, content: Any = None, *rest: Any, **named: Any
    ) -> Any:
        if isinstance(msg_or_type, dict):
            hidden = without_secrets(msg_or_type.get("content"))
            msg_or_type = {**msg_or_type, "content": hidden}
        return send(stream, msg_or_type, without_secrets(content), *rest, **named)

    session.send = send_hidden


def _hide_in_mlflow() -> None:
    if "mlflow" in sys.modules:
        from taxi_nb.secrets.mlflow_client import hide_secrets_in_runs

        hide_secrets_in_runs()
