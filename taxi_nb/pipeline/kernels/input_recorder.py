"""Records in a kernel which inputs a step reads and which files it writes.

The kernel executes this file's text before the first cell. It uses the standard library alone
and is no module of the kernel, so that a step's modules are those that its notebook imported.
It listens to Python's audit events (PEP 578) and writes JSON lines, each once:

``{"modules": [...]}``       top-level modules that are there at the start, or imported later
``{"read": path, "stamp": [size, mtime_ns, ctime_ns]}``    the stamp is null if there is no file
``{"write": path}``
``{"list": path}``           a folder whose names were asked for
``{"data": [name, location, sha256]}``, ``{"variable": [name, value]}``, ``{"runs": [kind, used]}``

If a line cannot be written, the whole record is removed: half of it would hide an input.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import site
import stat
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

CODE = (".py", ".pyc")
WRITING = os.O_WRONLY | os.O_RDWR

Place = str | os.PathLike[str]


class InputRecorder:
    """Listens to audit events and records those that show an input."""

    def __init__(self, root: str, record: str, ignored: list[str]) -> None:
        """Make the record; see `start_recording`. Hidden files are no inputs either."""
        self._root = os.path.realpath(root)
        self._record = record
        self._installed = tuple({os.path.realpath(path) for path in places_of_packages()})
        # An environment may be kept within the project.
        within = [path for path in (sys.prefix, *self._installed) if _is_below(path, (self._root,))]
        self._ignored = tuple(os.path.realpath(path) for path in (*ignored, *within))
        os.close(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._noted: set[str] = set()
        self._has_read: set[str] = set()
        self._written: set[str] = set()
        self._thread = threading.local()
        self._handlers: dict[str, Callable[..., None]] = {
            "open": self._opened,
            "import": lambda module, *_: self._note(modules=[module.partition(".")[0]]),
            "os.listdir": self._listed,
            "os.scandir": self._listed,
            "os.rename": self._renamed,
            "os.link": self._renamed,
            "os.system": self._command,
            "sqlite3.connect": self._connected,
            "subprocess.Popen": lambda _, arguments, cwd, __: self._command(arguments, cwd),
            "os.exec": lambda _, arguments, __: self._command(arguments),
            "os.posix_spawn": lambda _, arguments, __: self._command(arguments),
            "taxi_nb.used_data": lambda *used: self._note(data=used),
            "taxi_nb.used_variable": lambda *used: self._note(variable=used),
            "taxi_nb.used_runs": lambda *used: self._note(runs=used),
            "taxi_nb.pause": lambda: self._pause(1),
            "taxi_nb.resume": lambda: self._pause(-1),
        }
        self._note(modules=sorted({name.partition(".")[0] for name in sys.modules}))

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an audit event; it never disturbs the code that raised it."""
        handle = self._handlers.get(event)
        if handle is None or getattr(self._thread, "busy", False):
            return
        self._thread.busy = True
        try:
            handle(*arguments)
        except Exception:
            with contextlib.suppress(OSError):
                os.unlink(self._record)
        finally:
            self._thread.busy = False

    def _note(self, **line: Any) -> None:
        text = json.dumps(line)
        if text in self._noted:
            return
        self._noted.add(text)
        # Not kept open: a forked child may have closed the file and given its number away.
        file = os.open(self._record, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(file, text.encode() + b"\n")
        finally:
            os.close(file)

    def _pause(self, change: int) -> None:
        self._thread.paused = getattr(self._thread, "paused", 0) + change

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = self._as_source(os.path.abspath(os.fsdecode(path)))
        if getattr(self._thread, "paused", 0):
            # Another thread may read what this one makes, such as one that uploads it.
            self._written |= {name} if flags & WRITING else set()
        elif flags & WRITING:
            self._wrote(name)
        else:
            self._read(name)

    def _read(self, path: str) -> None:
        if path in self._written or not self._counts(path):
            return
        stamp = _stamp(path)
        is_input = stat.S_ISREG(stamp[0]) if stamp else self._is_in_project(path)
        # Noted once: a later stamp would hide a change made since.
        if is_input and path not in self._has_read:
            self._has_read.add(path)
            self._note(read=path, stamp=stamp and stamp[1:])

    def _wrote(self, path: str) -> None:
        self._written.add(path)
        if self._is_in_project(path):
            self._note(write=path)

    def _renamed(self, source: Any, target: Any, *_: Any) -> None:
        if isinstance(source, int) or isinstance(target, int):
            return
        if os.path.abspath(os.fsdecode(source)) in self._written:
            self._wrote(os.path.abspath(os.fsdecode(target)))

    def _listed(self, path: Any = None) -> None:
        if getattr(self._thread, "paused", 0) or isinstance(path, int) or _is_import_system():
            return
        folder = os.path.abspath(os.fsdecode(path) if path else os.getcwd())
        if folder == self._root or self._is_in_project(folder):
            self._note(list=folder)

    def _connected(self, database: Any) -> None:
        if isinstance(database, str | bytes | os.PathLike):
            path = os.fsdecode(database)
            if path.startswith("file:"):  # SQLite's own form of an address.
                path = unquote(path[5:].partition("?")[0].partition("#")[0])
                path = "/" + path.lstrip("/") if path.startswith("//") else path
            self._read(os.path.abspath(path))

    def _command(self, arguments: Any, folder: Any = None) -> None:
        """Take files that a command line names for read: another process cannot be heard."""
        if getattr(self._thread, "paused", 0):
            return
        given = [arguments] if isinstance(arguments, str | bytes) else arguments
        for word in _words(map(os.fsdecode, given)):
            path = os.path.abspath(os.path.join(os.fsdecode(folder or os.getcwd()), word))
            if os.path.isfile(path):
                self._read(path)

    def _counts(self, path: str) -> bool:
        """Whether a file is an input: one of the project, or code that nobody installed."""
        is_own_code = path.endswith(CODE) and not _is_below(path, (self._root, *self._installed))
        return is_own_code or self._is_in_project(path)

    def _is_in_project(self, path: str) -> bool:
        if not _is_below(path, (self._root,)):
            # The project may have been reached over a link.
            path = os.path.realpath(path)
        if not _is_below(path, (self._root,)) or _is_below(path, self._ignored):
            return False
        parts = os.path.relpath(path, self._root).split(os.sep)
        return not any(part.startswith(".") or part == "__pycache__" for part in parts)

    def _as_source(self, path: str) -> str:
        with contextlib.suppress(ValueError):
            return importlib.util.source_from_cache(path) if path.endswith(".pyc") else path
        return path


def places_of_packages() -> Iterator[str]:
    """Yield the folders whose code somebody installed: its versions are recorded instead."""
    paths = sysconfig.get_paths()
    yield from (paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    yield from site.getsitepackages()
    yield site.getusersitepackages()


def _stamp(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def _is_import_system() -> bool:
    """Whether the import system asks, which lists every folder that it looks into."""
    frame = sys._getframe(3)  # Past this function, its caller and `hear`.
    return "importlib" in frame.f_code.co_filename


def _words(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the words of a command line; a shell's are within one argument."""
    for argument in arguments:
        yield argument
        if " " in argument:
            with contextlib.suppress(ValueError):
                yield from shlex.split(argument)


def start_recording(root: Place, record: Place, ignored: Iterable[Place] = ()) -> str:
    """Return the code by which a kernel, of any client, starts to record its inputs.

    It assigns no name and imports no module of this project. Files below `root`, the project's
    folder, are inputs, except those in `ignored`.
    """
    call = f"start({str(root)!r}, {str(record)!r}, {[str(path) for path in ignored]!r})"
    with open(__file__, encoding="utf-8") as file:
        program = f"{file.read()}\n{call}\n"
    return f"exec(compile({program!r}, {__file__!r}, 'exec'), {{'__name__': 'recorder'}})"


def start(root: str, record: str, ignored: list[str]) -> None:
    """Record from now on, until the process ends."""
    sys.addaudithook(InputRecorder(root, record, ignored).hear)
