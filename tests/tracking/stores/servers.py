"""Servers of the kinds that people use, started for tests: PostgreSQL, S3, MLflow."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

# All that an address can trip over.
PASSWORD = "pa/ss:w@rd?#%41"


def forget_store() -> None:
    """Let MLflow know no store any more: it would put its address into the environment again."""
    import mlflow

    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@dataclass
class Server:
    """A server on a port of its own, that can be stopped and started again."""

    command: Sequence[str]
    port: int
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    user: str | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment},
            user=self.user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        end = time.monotonic() + 240  # A hang, not a busy machine.
        while not self.answers():
            assert self.process is not None
            assert self.process.poll() is None, f"{self.command} has ended"
            assert time.monotonic() < end, f"{self.command} never answered"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        if self.process:
            self.process.send_signal(number)
            try:
                self.process.wait(60)
            finally:
                self.process.kill()
                self.process = None


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def speaks_http(port: int, path: str = "/") -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False


@dataclass
class Postgresql:
    """A PostgreSQL server; its databases are made as they are asked for."""

    server: Server

    def database(self, name: str) -> str:
        """Make an empty database and return its address, password included."""
        self.ask(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.address(name)

    def address(self, name: str) -> str:
        password = quote(PASSWORD, safe="")
        return f"postgresql://taxi:{password}@127.0.0.1:{self.server.port}/{name}"

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def answers(self) -> bool:
        import psycopg

        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.OperationalError:
            return False


def postgresql_programs() -> Path | None:
    """Find initdb and postgres: on PATH, or where Debian keeps them."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    by_version = sorted(
        map(Path, glob.glob("/usr/lib/postgresql/*/bin")), key=lambda f: int(f.parent.name)
    )
    usable = [f for f in [*folders, *reversed(by_version)] if (f / "postgres").exists()]
    return usable[0] if usable else None


@contextmanager
def postgresql_server(programs: Path) -> Iterator[Postgresql]:
    """Run a PostgreSQL server in a temporary folder; not as root, which it refuses."""
    user = None
    if os.getuid() == 0:
        user = "postgres" if "postgres" in {e.pw_name for e in pwd.getpwall()} else "nobody"
    # Not below pytest's folders, nor where tests set TMPDIR to: nobody but root may look in there.
    folder = Path(tempfile.mkdtemp(prefix="taxi-nb-postgresql-", dir="/tmp"))
    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        for path in (folder, password):
            shutil.chown(path, user or os.getuid())
        data = ["-D", str(folder / "data")]
        how = [f"--pwfile={password}", "-N", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(
            [str(programs / "initdb"), *data, "-U", "taxi", "-A", "scram-sha-256", *how],
            user=user,
            check=True,
            capture_output=True,
            cwd=folder,
        )
        port = free_port()
        where = ["-k", str(folder), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command = [str(programs / "postgres"), *data, *where, "-c", "fsync=off"]
        postgresql = Postgresql(Server(command, port, lambda: False, folder=folder, user=user))
        postgresql.server.answers = postgresql.answers
        with running(postgresql.server):
            yield postgresql
    finally:
        shutil.rmtree(folder)


def s3_server() -> Server:
    """Return a server that speaks S3, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    return Server(command, port, lambda: speaks_http(port))


def tracking_server(folder: Path, environment: Mapping[str, str]) -> Server:
    """Return a tracking server; the environment says where it keeps runs and artifacts."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Server(
        [*command, "--port", str(port)],
        port,
        lambda: speaks_http(port, "/health"),
        environment={**quiet, **environment},
        folder=folder,
    )
