"""Digests of a model's files, noted when it is registered, and compared before its code runs.

A logged model carries code, which loading it runs. So whoever can write to the artifacts could
let others run theirs. `place_to_load` therefore gives MLflow a copy that nobody else can write
to, of those files alone that are as they were registered. Versions that older commits registered
have no digests: they are loaded from where they are, and that is said.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.file_addresses import folder_of
from taxi_nb.tracking.held_folder import HeldFolder
from taxi_nb.tracking.inputs import not_inputs
from taxi_nb.tracking.model_address import NOT_THERE, ModelAddress
from taxi_nb.tracking.model_notes import ModelNotes, RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

# The highest number of a version that was registered before digests were noted.
_FORMER = "files.after"
# A store takes 6,000 characters for a note.
_LONGEST_NOTE = 5_500
_CHUNK = 1 << 20
# What MLflow and Python put beside a model's files when they load it; it is not copied.
_NOT_ITS_OWN = ("registered_model_meta", "__pycache__")
# Of those that have been spoken of in this process.
_told: set[str] = set()
# What this process has loaded models from.
_copies: list[HeldFolder] = []


def expect_digests(client: MlflowClient, name: str) -> None:
    """Note that versions of a registered model from now on have digests."""
    notes = ModelNotes(client, name)
    if _FORMER not in notes.read():
        there = client.search_model_versions(f"name = '{name}'")
        notes.write(_FORMER, str(max((int(one.version) for one in there), default=0)))


def note_files(client: MlflowClient, version: ModelVersion) -> None:
    """Note the digests of a version's files as they are now, unless they are noted.

    `RegistryError` if others are noted.
    """
    notes = ModelNotes(client, version.name)
    if _noted(notes.read(), version) is not None:
        return
    with HeldFolder() as aside, not_inputs():
        source = _source(client, version, aside)
        found = {name: _digest(source / name) for name in _names(source)}
    _write(notes, version, found)


def noted_files(client: MlflowClient, version: ModelVersion) -> dict[str, str] | None:
    """Return the digests that are noted of a version's files, by their names; None if none are."""
    return _noted(ModelNotes(client, version.name).read(), version)


def note_digests(client: MlflowClient, version: ModelVersion, digests: dict[str, str]) -> None:
    """Note digests that are known already; `RegistryError` if others are noted."""
    _write(ModelNotes(client, version.name), version, digests)


def digest_of(files: dict[str, str]) -> str:
    """Return one digest of a model's files, by which two stores know the same model.

    >>> digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})
    True
    """
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def files_as_registered(
    client: MlflowClient, version: ModelVersion, folder: Path
) -> dict[str, str]:
    """Copy a version's files and return their digests; `RegistryError` if any is another.

    Of a version that is older than such notes the files are taken as they are, which is said.
    """
    found = _expected(client, version)
    if found is None:
        with HeldFolder() as aside, not_inputs():
            source = _source(client, version, aside)
            found = {name: _digest(source / name) for name in _names(source)}
    _copy(client, version, found, folder)
    return found


def files_of_model(client: MlflowClient, model_id: str) -> dict[str, str]:
    """Return the digests of a logged model's files as they are now, by their names."""
    with HeldFolder() as aside, not_inputs():
        source = _folder(client, f"models:/{model_id}", aside)
        return {name: _digest(source / name) for name in _names(source)}


def require_same_files(client: MlflowClient, version: ModelVersion) -> None:
    """Raise a `RegistryError` that names the files which are not as they were registered."""
    found = _expected(client, version)
    if found is not None:
        with HeldFolder() as folder:
            _copy(client, version, found, folder)


def place_to_load(client: MlflowClient, address: str) -> str:
    """Return where MLflow may load a model from, or raise a `RegistryError` that says why not.

    `address` is that of a registered version, of a logged model, or of a run's model; for one
    that was never registered there is nothing to compare with.
    """
    version = _registered(client, address)
    if version is None:
        return address
    found = _expected(client, version)
    if found is None:
        return str(ModelAddress.of(version))
    # Held to the end of this process: code is read from there.
    folder = HeldFolder("model-")
    _copies.append(folder)
    _copy(client, version, found, folder.path / "model")
    return str(folder.path / "model")


def _registered(client: MlflowClient, address: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.utils import models

    if address.startswith("models:/") and not address.startswith("models:/m-"):
        resolve: Any = models.get_model_name_and_version
        name, number = resolve(client, address)
        return client.get_model_version(str(name), str(number))
    try:
        if address.startswith("models:/m-"):
            model_id = address.removeprefix("models:/").partition("/")[0]
            run_id = client.get_logged_model(model_id).source_run_id
        else:
            kind, _, place = address.partition(":/")
            run_id = place.lstrip("/").partition("/")[0] if kind == "runs" else None
    except MlflowException as error:
        if error.error_code not in NOT_THERE:
            raise
        return None
    found = client.search_model_versions(f"run_id = '{run_id}'") if run_id else []
    return min(found, key=lambda version: int(version.version), default=None)


def _expected(client: MlflowClient, version: ModelVersion) -> dict[str, str] | None:
    """Return the digests of a version's files; None, and say so, if it is older than such notes."""
    notes = ModelNotes(client, version.name).read()
    found = _noted(notes, version)
    title = ModelAddress.of(version).title
    if found is None and int(version.version) > int(notes.get(_FORMER, version.version)):
        raise RegistryError(
            f"{title} was not registered by taxi-nb, which would have noted its files: nothing "
            f"says whose code it is, and it was not run. `taxi-nb registry promote "
            f"{version.version} --reason WHY --name {version.name}` takes its files as they are"
        )
    if found is None and title not in _told:
        _told.add(title)
        print(
            f"note: {title} was registered before digests of a model's files were kept; whether "
            "they are what was registered is not known",
            file=sys.stderr,
        )
    return found


def _noted(notes: dict[str, str], version: ModelVersion) -> dict[str, str] | None:
    key = f"files.{version.version}"
    if key not in notes:
        return None
    parts = (notes[f"{key}.{number}"] for number in range(1, int(notes[key]) + 1))
    return dict(json.loads("".join(parts)))


def _write(notes: ModelNotes, version: ModelVersion, digests: dict[str, str]) -> None:
    text, key = json.dumps(digests, sort_keys=True), f"files.{version.version}"
    parts = [text[at : at + _LONGEST_NOTE] for at in range(0, len(text), _LONGEST_NOTE)]
    written = [notes.write(f"{key}.{number}", part) for number, part in enumerate(parts, 1)]
    # Last: a kill before leaves no digests instead of half of them.
    if not all([*written, notes.write(key, str(len(parts)))]):
        title = ModelAddress.of(version).title
        raise RegistryError(f"{title}: other digests of its files are noted already")


def _copy(
    client: MlflowClient, version: ModelVersion, digests: dict[str, str], folder: Path
) -> None:
    """Copy a version's files, digesting what is copied; `RegistryError` if any is another."""
    differs: list[str] = []
    with HeldFolder() as aside, not_inputs():
        source = _source(client, version, aside)
        there = set(_names(source))
        for name, digest in digests.items():
            if name not in there:
                differs.append(f"{name} is gone")
                continue
            copy = folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if _digest(source / name, copy) != digest:
                differs.append(f"{name} has another content")
        differs += [f"{name} was added" for name in sorted(there - digests.keys())]
    if differs:
        more = f" and {len(differs) - 5} more" if len(differs) > 5 else ""
        raise RegistryError(
            f"{ModelAddress.of(version).title} is not the model that was registered: "
            f"{'; '.join(differs[:5])}{more}. Its code was not run; put back its files, or use "
            "another version"
        )


def _source(client: MlflowClient, version: ModelVersion, aside: Path) -> Path:
    """Return the folder with a version's files: its own on this machine, else a download."""
    from mlflow.exceptions import MlflowException

    address = client.get_model_version_download_uri(version.name, version.version)
    try:
        folder = _folder(client, address, aside)
        if folder.is_dir():
            return folder
        reason = f"there is no folder {folder}"
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0]
    raise RegistryError(
        f"{ModelAddress.of(version).title} cannot be loaded, its files are gone: {reason}"
    )


def _folder(client: MlflowClient, address: str, aside: Path) -> Path:
    """Return the folder that an address names on this machine, else what is downloaded of it."""
    import mlflow

    if address.startswith("models:/m-"):
        model_id = address.removeprefix("models:/").partition("/")[0]
        address = str(client.get_logged_model(model_id).artifact_location)
    folder = folder_of(address)
    if folder is not None:
        return folder
    uri = str(client.tracking_uri)
    return Path(mlflow.artifacts.download_artifacts(address, None, None, str(aside), uri))


def _names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        # A folder is made of its files; a link to one, or a device, is none of a model's.
        if not (path.is_dir() and not path.is_symlink()) and not set(name.parts) & {*_NOT_ITS_OWN}:
            yield name.as_posix()


def _digest(file: Path, copy: Path | None = None) -> str:
    """Return a regular file's digest, of the very bytes that go to `copy`; "" for another kind."""
    found = hashlib.sha256()
    if not file.is_file():
        return ""
    with file.open("rb") as source:
        if copy is None:
            return hashlib.file_digest(source, "sha256").hexdigest()
        with copy.open("xb") as target:
            while part := source.read(_CHUNK):
                found.update(part)
                target.write(part)
    return found.hexdigest()
