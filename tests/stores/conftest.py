"""The stores that people use, as real servers: PostgreSQL, a bucket, a tracking server."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

# All that an address can trip over.
PASSWORD = "pa/ss:w@rd?#%41"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 90
    while not answers():
        assert process.poll() is None, "the server has ended"
        assert time.monotonic() < end, "the server never answered"
        time.sleep(0.05)


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False


def _postgresql_programs() -> Path | None:
    """Find initdb and postgres: on PATH, or where Debian keeps them."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda f: int(f.split("/")[4]))
    return Path(folders[-1]) if folders else None


def _unprivileged() -> str | None:
    """Return whom PostgreSQL may run as: it refuses root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@dataclass
class Postgresql:
    """A PostgreSQL server in a temporary folder, that can be stopped and started again."""

    programs: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "log_min_messages=FATAL",
        ]
        self.process = subprocess.Popen(
            [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
            + ["-p", str(self.port), *options],
            user=_unprivileged(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        wait_until(self._answers, self.process)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(2)  # SIGINT: it breaks connections and shuts down at once.
            self.process.wait(20)
            self.process = None

    def address(self, database: str) -> str:
        return f"postgresql://taxi:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    def ask(self, statement: str, database: str = "postgres") -> list[Any]:
        import psycopg

        connection = psycopg.connect(self.address(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def _answers(self) -> bool:
        import psycopg

        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server."""
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip("NO POSTGRESQL HERE, so stores in it are NOT TESTED: apt install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="taxi-nb-postgresql-"))
    try:
        (folder / "password").write_text(PASSWORD)
        user = _unprivileged()
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "taxi", "-A", "scram-sha-256"]
            + [f"--pwfile={folder / 'password'}", "-N", "-E", "UTF8", "--locale=C.UTF-8"],
            user=user,
            check=True,
            capture_output=True,
            cwd=folder,
        )
        server = Postgresql(programs, folder, free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
