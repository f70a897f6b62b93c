"""Addresses of files on this machine: an SQLite store's, an artifact folder's; made and read."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

_SQLITE = re.compile(r"sqlite(\+\w+)?://")


def is_sqlite(uri: str) -> bool:
    """Whether a store is an SQLite file, whichever driver its address names."""
    return _SQLITE.match(uri) is not None


def sqlite_address(file: Path) -> str:
    """Return the address by which SQLAlchemy opens an SQLite file.

    >>> sqlite_address(Path("/home/me/what?/mlflow.db"))
    'sqlite+pysqlite:////home/me/what%3F/mlflow.db'
    """
    # Only what an address gives a meaning: records hold addresses of before, and are compared.
    written = re.sub(r"[%?#]", lambda found: quote(found[0]), str(file))
    # With the driver's name MLflow makes no folder that is called as the address is written.
    driver = "" if written == str(file) else "+pysqlite"
    return f"sqlite{driver}:///{written}"


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite address; None of one in memory, and of any other address.

    >>> sqlite_file("sqlite:////home/me/what%3F/mlflow.db")
    PosixPath('/home/me/what?/mlflow.db')
    >>> sqlite_file("sqlite:///file:/tmp/a.db?mode=rw&uri=true")
    PosixPath('/tmp/a.db')
    """
    if (found := _SQLITE.match(uri)) is None:
        return None
    written, _, query = uri[found.end() :].partition("?")
    name = unquote(written.removeprefix("/"))
    if "uri" in parse_qs(query) and name.startswith("file:"):
        # SQLite's own form (https://www.sqlite.org/uri.html), which is written twice.
        name = unquote(re.sub(r"^file:(//(localhost)?(?=/))?", "", name).partition("?")[0])
    return Path(name) if name and name != ":memory:" else None


def read_only_address(file: Path) -> str:
    """Return SQLite's own form of a file's address, for readers that must not make one."""
    return f"{file.absolute().as_uri()}?mode=ro"


def folder_address(given: str) -> str:
    """Return a folder's path or ``file:`` address as one that MLflow reads as that folder.

    >>> folder_address("file:///home/me/nb#1")
    'file:///home/me/nb%231'
    """
    path = re.sub(r"^file:(//[^/]*)?", "", given)
    return Path(path if path == given else unquote(path)).expanduser().absolute().as_uri()


def folder_of(address: str) -> Path | None:
    """Return the folder of a ``file:`` address; None of any other."""
    if not address.startswith("file:"):
        return None
    from urllib.request import url2pathname  # With it a client of HTTP is imported.

    return Path(url2pathname(urlsplit(address).path))
