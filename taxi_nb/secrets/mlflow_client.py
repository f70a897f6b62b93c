"""Runs without known secrets, whichever call of MLflow's client writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from typing import Any

from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.references import SecretError

_WRITING = ("create_run", "log_batch", "log_dict", "log_param", "log_text", "set_tag", "update_run")
_COPYING = ("log_artifact", "log_artifacts")


@cache
def hide_secrets_in_runs() -> None:
    """Let MLflow's client, which all its functions use, write ``[env:NAME]`` for known secrets.

    A file that has one in it is refused: it may be of any format.
    """
    from mlflow import MlflowClient

    for name in _WRITING:
        setattr(MlflowClient, name, _hiding(getattr(MlflowClient, name)))
    for name in _COPYING:
        setattr(MlflowClient, name, _refusing(getattr(MlflowClient, name)))


def _hiding(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def hidden(self: Any, *given: Any, **named: Any) -> Any:
        values = {name: _hidden_in(value) for name, value in named.items()}
        return method(self, *map(_hidden_in, given), **values)

    return hidden


def _hidden_in(value: Any) -> Any:
    from mlflow.entities import Param, RunTag

    if isinstance(value, list | tuple):
        return [_hidden_in(item) for item in value]
    if isinstance(value, Param | RunTag):
        return type(value)(value.key, KNOWN.hide_in(value.value))
    return KNOWN.hide_in(value)


def _refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def refusing(self: Any, *given: Any, **named: Any) -> Any:
        local = signature(method).bind(self, *given, **named).args[2]
        for file in _files(Path(local)):
            if found := KNOWN.found_in(file.read_bytes()):
                raise SecretError(
                    f"{file.name} holds what env:{found[0]} stands for and is not logged: "
                    "write it without"
                )
        return method(self, *given, **named)

    return refusing


def _files(path: Path) -> Iterator[Path]:
    yield from (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)
