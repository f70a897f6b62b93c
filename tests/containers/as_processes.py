"""The services of compose.yaml as plain processes: their commands, variables, ports and names.

It is started in namespaces of its own, where all ports are free, the services' names lead to
the loopback address and all processes end with the first one. PostgreSQL is installed here and
started as its image starts it; a server of moto's stands for the S3 store.

    unshare --net --mount --pid --fork --kill-child --mount-proc \
      python -m tests.containers.as_processes FOLDER
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.conftest import REPOSITORY
from tests.containers.compose import services
from tests.containers.dockerfile import image_environment
from tests.tracking.stores.servers import postgresql_programs, speaks_http

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Together:
    """Services of one file, each started after those that it depends on."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder, self.services = folder, services(variables)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def up(self, name: str) -> None:
        """Start a service, unless it is, when its conditions are met."""
        if name in self.running:
            return
        for other, how in self.services[name].get("depends_on", {}).items():
            self.up(other)
            if how["condition"] == "service_completed_successfully":
                assert self.running[other].wait(300) == 0, f"{other} failed"
            else:
                assert how["condition"] == "service_healthy"
                self.wait_for_health(other)
        start: Callable[[str], Any] = {"postgres": self.postgresql, "s3": self.moto}.get(
            name, self.ours
        )
        self.running[name] = start(name)

    def environment(self, name: str) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        here = {
            "PATH": path,
            "HOME": str(self.folder),
            "JUPYTER_CONFIG_DIR": str(self.folder),
            "OMP_NUM_THREADS": "1",
        }
        image = image_environment(COMMIT=COMMIT)
        del image["PATH"]  # Where the image keeps its programs.
        image |= self.services[name].get("environment", {})
        # The project is here and not where the image has it.
        moved = {n: v.replace("/project", str(self.folder)) for n, v in image.items()}
        return {**here, "PYTHONPATH": str(REPOSITORY), **moved}

    def ours(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service of the project's own image."""
        return self.start(self.services[name]["command"], name)

    def start(self, command: list[str], name: str, **how: Any) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        return subprocess.Popen(
            command,
            **{"cwd": self.folder, "env": self.environment(name), **how},
            stdout=log,
            stderr=log,
        )

    def postgresql(self, name: str) -> subprocess.Popen[bytes]:
        """Do what the image does when its volume is empty: user, password, database."""
        wanted = self.services[name]["environment"]
        programs = postgresql_programs()
        assert programs is not None
        data = self.folder / "postgres"
        data.mkdir()
        password = data / "password"
        password.write_text(wanted["POSTGRES_PASSWORD"])
        who = "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"
        for path in (data, password):
            shutil.chown(path, who)
        how: dict[str, Any] = {"user": who, "cwd": "/", "env": {"PATH": os.environ["PATH"]}}
        make = [programs / "initdb", "-D", data / "files", "-U", wanted["POSTGRES_USER"], "-N"]
        secured = ["-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8"]
        subprocess.run([*make, *secured], check=True, capture_output=True, **how)
        listen = ["-k", str(data), "-c", "listen_addresses=*", "-c", "fsync=off"]
        server = self.start(
            [str(programs / "postgres"), "-D", str(data / "files"), *listen], name, **how
        )
        self.wait_for_health(name)
        ask = f"dbname=postgres user={wanted['POSTGRES_USER']} host=127.0.0.1"
        import psycopg

        with psycopg.connect(ask, password=wanted["POSTGRES_PASSWORD"], autocommit=True) as opened:
            opened.execute(f"CREATE DATABASE {wanted['POSTGRES_DB']}")  # type: ignore[call-overload]
        return server

    def moto(self, name: str) -> subprocess.Popen[bytes]:
        command = self.services[name]["command"]
        port = command[command.index("--port") + 1].lstrip(":")
        server = self.start(
            [sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", port], name
        )
        until(lambda: speaks_http(int(port)), name)
        return server

    def wait_for_health(self, name: str) -> None:
        """Ask as the file says; moto has no such page as the S3 store."""
        kind, *test = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        if name != "s3":
            asked: dict[str, Any] = {"env": self.environment(name), "capture_output": True}
            until(lambda: subprocess.run(test, **asked).returncode == 0, name)


def until(is_so: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + 200
    while not is_so():
        assert time.monotonic() < end, f"{name} never answered"
        time.sleep(1)


def status(address: str, body: Any = None, **headers: str) -> int:
    """Return what a server answers, as HTTP's number."""
    content = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"}
    try:
        with urlopen(Request(address, content, {**kind, **headers}), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def main(folder: Path) -> dict[str, Any]:
    """Let the smoke pipeline go through all services; return what was seen."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    written = (folder / ".env").read_text().splitlines()
    secrets = dict(line.partition("=")[::2] for line in written)
    asked = {"PARAMS": "params/smoke.yaml", "MODEL": "smoke", "MLFLOW_WORKERS": "1"}
    together = Together(folder, {**secrets, **asked})
    # The image's user is not root, which Jupyter refuses.
    as_root = {"ServerApp": {"allow_root": True}}
    (folder / "jupyter_server_config.json").write_text(json.dumps(as_root))
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(together.services)}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    for name in ("lab", "serve"):
        together.up(name)
        together.wait_for_health(name)
    search = "/api/2.0/mlflow/experiments/search"
    trip = {"pickup_datetime": "2021-03-01T08:30:00", "PULocationID": 74, "DOLocationID": 75}
    trip["trip_distance"] = 1.8
    token = {"Authorization": f"Bearer {secrets['TAXI_NB_TOKEN']}"}
    predictions, trips = "http://127.0.0.1:5001/invocations", {"dataframe_records": [trip]}
    seen: dict[str, Any] = {
        "a client asks MLflow": status(f"http://mlflow:5000{search}", {"max_results": 1}),
        "a browser asks MLflow": status(f"http://127.0.0.1:5000{search}", {"max_results": 1}),
        "another name for MLflow": status(
            f"http://127.0.0.1:5000{search}", {"max_results": 1}, Host="elsewhere.example"
        ),
        "Lab": status("http://127.0.0.1:8888/api/status"),
        "Lab with its token": status(
            "http://127.0.0.1:8888/api/status", Authorization=f"token {secrets['JUPYTER_TOKEN']}"
        ),
        "a prediction": status(predictions, trips),
        "a prediction with its token": status(predictions, trips, **token),
    }
    # On a machine that has nothing yet: all of it comes from the bucket.
    shutil.rmtree(folder / "runs")
    assert together.ours("pipeline").wait(200) == 0
    assert together.ours("bucket").wait(60) == 0
    os.environ.update(together.environment("bucket"))
    import boto3

    keys = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket="taxi-nb")
    seen["keys"] = [one["Key"] for page in keys for one in page.get("Contents", [])]
    (second,) = (folder / "runs").glob("2*/run.json")
    seen["second run"] = json.loads(second.read_text())
    # It gives its memory back; all others end with this process.
    together.running["postgres"].send_signal(signal.SIGINT)
    together.running["postgres"].wait(30)
    return seen


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "seen.json").write_text(json.dumps(main(place)))
