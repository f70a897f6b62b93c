"""Whether a remote file is still what it was, by fsspec."""

from __future__ import annotations

from typing import Any

from taxi_nb.pipeline.object_store import connected, digest_there
from taxi_nb.secrets.addresses import cause_of

# What servers say of a file's version; its size alone says too little.
_VERSION = ("ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "created")


def is_remote(location: str) -> bool:
    """Whether a location is a URL that fsspec reads."""
    return "://" in location


def remote_stamp(location: str) -> str | None:
    """Return what the server says of a file's version; None if it says nothing."""
    try:
        files, path = connected(location)
        info: dict[str, Any] = files.info(path)
    except Exception:  # Each file system fails in its own way; without a stamp it is read.
        return None
    version = {name: str(info[name]) for name in _VERSION if info.get(name)}
    return f"{info.get('size')} {version}" if version else None


def remote_digest(location: str) -> str | None:
    """Return a remote file's sha256, None if it is not there; OSError if it cannot be read."""
    try:
        files, path = connected(location)
        return digest_there(files, path)
    except Exception as error:
        raise OSError(cause_of(error, location)) from None
