"""The code that a logged model carries, and which code a loaded model runs.

A model's file names the classes that it is made of. So that these names stay true whatever
becomes of the project's files, a model carries a copy of this package, named after a digest of
its content: ``taxi_nb_model_1f2e3d4c5b6a``. Models of different code have different names and
live side by side in one process; none takes the name ``taxi_nb``.

Where the project is installed, its own package answers to the name of the same code. Models
that were logged before this scheme carry the whole project as ``taxi_nb``. Their classes are
loaded from that copy under a private name, and ``taxi_nb`` stays the project's.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import IO, Any

PREFIX = "taxi_nb_model_"
PROJECT = "taxi_nb"

_FOLDER = Path(__file__).parent
_PACKAGE = __package__
# The modules that models named which carry the whole project.
_FORMER_MODULES = {
    f"{PROJECT}.{name}"
    for name in ("features", "group_statistics", "linear", "trip_features", "zone_statistics")
}
# Private name -> the copy of the project that goes by it.
_former_copies: dict[str, Path] = {}
# Open as long as this process lives: by their locks a later one knows what a kill has left.
_held: list[IO[bytes]] = []


@cache
def sources() -> Mapping[str, bytes]:
    """Return this package's files as they are when this is first called: name -> content."""
    return _files()


def _files() -> dict[str, bytes]:
    files = sorted(path for path in _FOLDER.iterdir() if path.suffix in (".py", ".csv"))
    # Line ends depend on the checkout, and must not decide what counts as the same code.
    return {path.name: path.read_bytes().replace(b"\r\n", b"\n") for path in files}


@cache
def carried_name() -> str:
    """Return the name that this package's code goes by in a model."""
    digest = hashlib.sha256()
    for name, content in sources().items():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return PREFIX + digest.hexdigest()[:12]


def require_unchanged() -> None:
    """Raise a `RuntimeError` if a file of this package was edited after it was imported."""
    known, now = sources(), _files()
    edited = [name for name in sorted({*known, *now}) if known.get(name) != now.get(name)]
    if edited:
        raise RuntimeError(
            f"{', '.join(edited)} in {_FOLDER} changed after this process imported it: restart "
            "the kernel, so that the model carries the code that made it"
        )


@cache
def carried_code() -> Path:
    """Return a folder with this package's code under its carried name, for MLflow to copy."""
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="taxi-nb-code-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if os.name == "posix":
        import fcntl

        # Locked before it has its name: another process sees no lock or a held one.
        _held.append((folder / "lock~").open("wb"))
        fcntl.flock(_held[-1], fcntl.LOCK_EX)
        (folder / "lock~").rename(folder / "lock")
    copy = folder / carried_name()
    copy.mkdir()
    for name, content in sources().items():
        (copy / name).write_bytes(content)
    return copy


@contextmanager
def carried_names() -> Iterator[None]:
    """Call the classes of this package as the carried code calls them, while a model is written."""
    renamed = [
        (value, name)
        for name, module in list(sys.modules.items())
        if module is not None and name.startswith(f"{_PACKAGE}.")
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == name
    ]
    try:
        for value, name in renamed:
            value.__module__ = carried_name() + name.removeprefix(str(_PACKAGE))
        yield
    finally:
        for value, name in renamed:
            value.__module__ = name


class ModelCode(MetaPathFinder):
    """Finds the code that loaded models name."""

    @classmethod
    def install(cls) -> None:
        """Ask this finder first; one that an earlier import of the project left is replaced."""
        # By name: kernels forget the project's modules that were imported before they were forked.
        others = [one for one in sys.meta_path if type(one).__name__ != cls.__name__]
        sys.meta_path[:] = [cls(), *others]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module comes from; None: from where Python would look anyway."""
        top, dot, _ = name.partition(".")
        if name == PROJECT:
            return _project_spec()
        if name in _FORMER_MODULES and _former_code(name):
            return ModuleSpec(name, _FormerLoader())
        if top in _former_copies:
            return _copied_spec(name, _former_copies[top])
        if top.startswith(PREFIX) and top == carried_name():
            return ModuleSpec(name, _SameCode(), is_package=not dot)
        return None


def _project_spec() -> ModuleSpec | None:
    """Find the project past the copies of it that loaded models have put on the path."""
    places = [entry for entry in sys.path if not _is_of_a_model(entry)]
    return PathFinder.find_spec(PROJECT, places) if len(places) < len(sys.path) else None


def _is_of_a_model(entry: str) -> bool:
    folder = Path(entry)
    return folder.name == "code" and (folder.parent / "MLmodel").is_file()


class _SameCode(Loader):
    """Gives the project's own module for one that a model carries, where the code is the same."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        own = import_module(str(_PACKAGE) + spec.name.removeprefix(carried_name()))
        self._spec = own.__spec__
        return own

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just given it the other name's.
        module.__spec__ = self._spec


class _FormerLoader(Loader):
    """Stands for a module that the project has no more, with the classes of a model's own copy."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _FormerModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to execute: each model has its own copy, found when it is loaded."""


class _FormerModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        code = None if name.startswith("__") else _former_code(self.__name__)
        if code is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        private = PREFIX + hashlib.sha256(str(code).encode()).hexdigest()[:12]
        _former_copies[private] = code / PROJECT
        return getattr(import_module(private + self.__name__.removeprefix(PROJECT)), name)


def _former_code(module: str) -> Path | None:
    """Return the code folder of the model that was loaded last, if it carries a whole project."""
    file = Path(*module.split(".")).with_suffix(".py")
    folders = (Path(entry) for entry in sys.path if _is_of_a_model(entry))
    return next((folder for folder in folders if (folder / file).is_file()), None)


def _copied_spec(name: str, copy: Path) -> ModuleSpec | None:
    file = copy.joinpath(*name.split(".")[1:])
    is_package = (file / "__init__.py").is_file()
    path = str(file / "__init__.py" if is_package else file.with_suffix(".py"))
    if not Path(path).is_file():
        return None
    places = [str(file)] if is_package else None
    return spec_from_file_location(
        name, path, loader=_CopyLoader(name, path), submodule_search_locations=places
    )


class _CopyLoader(SourceFileLoader):
    """Loads a copy of the project under a private name: what it imports is its own as well."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source; compiled files beside it have the names as they were written."""
        import ast

        private = fullname.partition(".")[0]
        tree = ast.parse(self.get_data(self.path))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                top, dot, rest = node.module.partition(".")
                if top == PROJECT:
                    node.module = private + dot + rest
        return compile(tree, self.path, "exec", dont_inherit=True)


class ProjectFirst:
    """A run context provider without any tags: MLflow loads it when it is imported itself.

    The project is then imported before any model, whose code could take its name.
    """

    def in_context(self) -> bool:
        """Return False: no run gets tags from here."""
        return False

    def tags(self) -> dict[str, str]:
        """Return nothing."""
        return {}
