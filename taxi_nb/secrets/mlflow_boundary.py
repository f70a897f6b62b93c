"""The boundary that all goes through on its way to MLflow: its stores and artifact repositories.

Whatever a call of MLflow's is named, a store's method gets what it writes, in this process for a
database and in the client of a server. So every public method of every store is looked through,
and no list of methods has to be kept.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import cache, wraps
from pathlib import Path
from typing import Any

from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.literals import holds_secret, without_tokens
from taxi_nb.secrets.references import SecretError

_GUARDED = "_hides_secrets"
# All that logs no file of the caller's writes one by this.
_WRITER = "_log_artifact_helper"
# Stores refuse brackets and colons in the names of metrics, models and aliases.
_IN_NAMES = re.compile(r"\[env:(\w+)\]")
# Entities hold texts; what else a call is given, such as a model in memory, is no text.
_ENTITIES = ("mlflow", "opentelemetry")
# The states of models and of much else are members of an `Enum` that are texts as well.
_NO_TEXTS = (bool, int, float, bytes, Enum)


@cache
def hide_secrets_in_stores() -> None:
    """Let no store get a known secret, a token of a well-known form, or a signed address.

    Known secrets become ``[env:NAME]``, ``env_NAME`` in names. A file with one in it is refused:
    it may be of any format.
    """
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.store.artifact.artifact_repository_registry import ArtifactRepositoryRegistry
    from mlflow.tracking._model_registry.registry import ModelRegistryStoreRegistry
    from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

    _guard_all_of(ModelRegistryStoreRegistry, "get_store", _hiding)
    _guard_all_of(TrackingStoreRegistry, "get_store", _hiding)
    _guard_all_of(ArtifactRepositoryRegistry, "get_artifact_repository", _refusing)
    for kind in _below(ArtifactRepository):  # A client keeps those that it was given before.
        _guard_class(kind, _refusing)
    setattr(MlflowClient, _WRITER, _cleaning(getattr(MlflowClient, _WRITER)))


def _cleaning(writer: Callable[..., Any]) -> Callable[..., Any]:
    """Clean the file that MLflow itself has written from a text, a dictionary or a figure."""

    @contextmanager
    @wraps(writer)
    def cleaning(*given: Any, **named: Any) -> Iterator[Any]:
        with writer(*given, **named) as file:
            yield file
            KNOWN.hide_in_file(Path(file))

    return cleaning


def _guard_all_of(registry: type, name: str, guard: Callable[..., Any]) -> None:
    """Guard whatever a registry gives out: by its class, since stores are kept and shared."""
    give = getattr(registry, name)

    @wraps(give)
    def guarded(*given: Any, **named: Any) -> Any:
        found = give(*given, **named)
        kind: Any = type(found)
        _guard_class(kind, guard)
        return found

    setattr(registry, name, guarded)


def _below(kind: Any) -> Iterator[Any]:
    yield kind
    for one in kind.__subclasses__():
        yield from _below(one)


@cache
def _guard_class(kind: Any, guard: Callable[..., Any]) -> None:
    for home in kind.__mro__[:-1]:
        for name, method in list(vars(home).items()):
            is_public = inspect.isfunction(method) and not name.startswith("_")
            if is_public and not hasattr(method, _GUARDED):
                guarded = guard(method)
                setattr(guarded, _GUARDED, True)
                setattr(home, name, guarded)


def _hiding(method: Callable[..., Any], left: Callable[[str], bool] = str.isspace) -> Any:
    """Return a method that looks through its arguments but those whose names are to be left."""
    takes = list(inspect.signature(method).parameters)

    def clean(name: str, value: Any) -> Any:
        return value if left(name) else hidden_in(value, name)

    @wraps(method)
    def hidden(self: Any, *given: Any, **named: Any) -> Any:
        names = [*takes[1:], *[""] * len(given)]
        values = [clean(name, value) for name, value in zip(names, given, strict=False)]
        return method(self, *values, **{name: clean(name, v) for name, v in named.items()})

    return hidden


def _refusing(method: Callable[..., Any]) -> Any:
    """Return a repository's method that takes no local file with a known secret in it."""
    signature = inspect.signature(method)
    local = [name for name in signature.parameters if name.startswith("local_")]
    if not local:  # What it reads is at a path; a text that it keeps is none.
        return _hiding(method, lambda name: name.endswith("path"))
    hidden = _hiding(method, local.__contains__)

    @wraps(method)
    def refusing(self: Any, *given: Any, **named: Any) -> Any:
        asked = signature.bind(self, *given, **named).arguments
        for name in local if KNOWN else ():
            _refuse(Path(asked[name]))
        return hidden(self, *given, **named)

    return refusing


def _refuse(place: Path) -> None:
    """Raise a `SecretError` if a file, or one in a folder, has a known secret in it."""
    for file in _files(place):
        inside = str(file.relative_to(place.parent))
        if found := KNOWN.found_in(inside.encode()) or KNOWN.found_in(file.read_bytes()):
            raise SecretError(
                f"{KNOWN.hide_in(file.name)} holds what env:{found[0]} stands for and is not "
                "logged: write it without"
            )


def _files(path: Path) -> Iterator[Path]:
    yield from (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)


def hidden_in(value: Any, name: str = "", _within: tuple[int, ...] = ()) -> Any:
    """Return what a store is given, a text or an entity, without secrets; itself if it has none.

    `name` is the argument's or the field's.
    """
    if value is None or isinstance(value, _NO_TEXTS) or id(value) in _within:
        return value
    if isinstance(value, str):
        hidden = without_tokens(KNOWN.hide_in(value))
        # A run's name is a tag's value too, and both have to be the same.
        is_name = name.endswith(("key", "name")) and not name.endswith("run_name")
        return _IN_NAMES.sub(r"env_\1", hidden) if is_name else hidden
    within = (*_within, id(value))
    if isinstance(value, Mapping) and type(value) is dict:
        pairs = {k: (hidden_in(k, "key", within), _of_key(k, v, within)) for k, v in value.items()}
        is_same = all(k is key and value[k] is item for k, (key, item) in pairs.items())
        return value if is_same else dict(pairs.values())
    if type(value) in (list, tuple, set):
        items = [hidden_in(item, name, within) for item in value]
        is_same = all(new is old for new, old in zip(items, value, strict=True))
        return value if is_same else type(value)(items)
    if type(value).__module__.partition(".")[0] not in _ENTITIES or not hasattr(value, "__dict__"):
        return value
    return _hidden_in_entity(value, within)


def _hidden_in_entity(entity: Any, within: tuple[int, ...]) -> Any:
    fields = vars(entity)
    changed = {}
    for field, old in fields.items():
        is_value = field.strip("_") == "value" and isinstance(old, str)
        of = next((fields[k] for k in ("_key", "key") if is_value and k in fields), None)
        new = _of_key(of, old, within) if of else hidden_in(old, field, within)
        if new is not old:
            changed[field] = new
    if not changed:
        return entity
    hidden = copy.copy(entity)
    vars(hidden).update(changed)
    return hidden


def _of_key(key: Any, value: Any, within: tuple[int, ...]) -> Any:
    """Return the value of a parameter or tag; what its key calls a secret is one."""
    clean = hidden_in(value, "", within)
    if isinstance(key, str) and isinstance(clean, str) and holds_secret(key, clean):
        return "***"
    return clean
