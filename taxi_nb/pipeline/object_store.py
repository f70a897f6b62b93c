"""A folder or bucket that machines share, by fsspec: objects that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from taxi_nb.project import write_whole
from taxi_nb.secrets.addresses import cause_of, without_credentials

# These show an object when all of it has arrived; elsewhere it is moved into place.
_WHOLE_BY_THEMSELVES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"}
# Without them a bucket that is gone is asked for minutes.
_SOON = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}


class ObjectStoreError(RuntimeError):
    """A place cannot be used; the message names it and says why."""


class ObjectStore:
    """A place for bytes by name, such as ``s3://bucket/prefix`` or a folder.

    A reader sees the whole of an object or none of it, whoever writes and whenever that is
    killed. Every failure of a place is an `ObjectStoreError`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     store = ObjectStore(folder)
    ...     store.write("keys/a.json", b"{}")
    ...     print(store.sizes("keys"), store.read("keys/a.json"))
    {'keys/a.json': 2} b'{}'
    """

    def __init__(self, address: str) -> None:
        self.address = without_credentials(address)
        self._secret = address
        self._files, root = connected(address)
        self._root = root.rstrip("/")
        protocols = self._files.protocol
        self._protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        self._is_local = "file" in self._protocols

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes; None if there is none of that name."""
        try:
            return bytes(self._files.cat_file(self._path(name)))
        except (FileNotFoundError, IsADirectoryError):
            return None
        except Exception as error:
            raise self._failure(error) from None

    def digest(self, name: str) -> str | None:
        """Return the sha256 of an object, read piece by piece; None if there is none."""
        try:
            return digest_there(self._files, self._path(name))
        except Exception as error:
            raise self._failure(error) from None

    def fetch(self, name: str, to: Path) -> bool:
        """Copy an object to a file; return whether there is one of that name."""
        try:
            self._files.get_file(self._path(name), str(to))
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._failure(error) from None
        return True

    def write(self, name: str, content: bytes | Path) -> None:
        """Write an object from bytes or from a file, in place of one that is there."""
        path = self._path(name)
        try:
            if self._is_local and isinstance(content, bytes):
                write_whole(Path(path), content)
                return
            if self._protocols & _WHOLE_BY_THEMSELVES:
                self._put(path, content)
                return
            aside = f"{self._root}/.parts/{secrets.token_hex(8)}"
            self._files.makedirs(f"{self._root}/.parts", exist_ok=True)
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._put(aside, content)
            if self._is_local:
                os.replace(aside, path)
            else:
                self._files.mv(aside, path)
        except Exception as error:
            raise self._failure(error) from None

    def _put(self, path: str, content: bytes | Path) -> None:
        if isinstance(content, bytes):
            self._files.pipe_file(path, content)
        else:
            self._files.put_file(str(content), path)

    def sizes(self, below: str) -> dict[str, int]:
        """Return the names below one, as they are now, and how many bytes each has."""
        try:
            found = self._files.find(self._path(below), detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._failure(error) from None
        start = len(self._root) + 1
        return {str(path)[start:]: int(info["size"] or 0) for path, info in found.items()}

    def size(self, name: str) -> int | None:
        """Return how many bytes an object has; None if there is none of that name."""
        try:
            return int(self._files.info(self._path(name))["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(error) from None

    def written(self, name: str) -> float | None:
        """Return when an object was written, in seconds since 1970; None if that is not known."""
        with suppress(Exception):
            return float(self._files.modified(self._path(name)).timestamp())
        return None

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        try:
            self._files.rm_file(self._path(name))
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failure(error) from None

    def require_writing(self) -> None:
        """Raise an `ObjectStoreError` if nothing can be written here."""
        probe = f".probes/{secrets.token_hex(8)}"
        self.write(probe, b"may be removed")
        self.delete(probe)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _failure(self, error: Exception) -> ObjectStoreError:
        return _failure(self._secret, error)


def connected(address: str) -> tuple[Any, str]:
    """Return the file system of an address and the path in it; ObjectStoreError if there is none.

    The connection is its own: a kept one may remember an older listing or endpoint.
    """
    from fsspec.core import url_to_fs

    is_s3 = address.startswith(("s3://", "s3a://"))
    options = {"config_kwargs": _SOON, "use_listings_cache": False} if is_s3 else {}
    try:
        files, path = url_to_fs(address, skip_instance_cache=True, **options)
    except ImportError as error:
        needs = "needs s3fs: pip install 'taxi-nb[s3]'" if is_s3 else f"cannot be used: {error}"
        raise ObjectStoreError(f"{without_credentials(address)} {needs}") from None
    except Exception as error:
        raise _failure(address, error) from None
    return files, str(path)


def digest_there(files: Any, path: str) -> str | None:
    """Return the sha256 of a file of a file system, read piece by piece; None if there is none."""
    try:
        with files.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _failure(address: str, error: Exception) -> ObjectStoreError:
    where = without_credentials(address)
    return ObjectStoreError(f"{where} cannot be used: {cause_of(error, address)}")
