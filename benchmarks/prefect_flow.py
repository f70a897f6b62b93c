"""How long many steps take that Prefect coordinates, and the same ones by `taxi-nb run`.

    python -m benchmarks.prefect_flow [--steps 200] [--jobs 2] [--engines .venv-engines]

The steps are trivial and independent: what is measured is what a step costs beside its work. As a
flow each is a process of its own, as it would be a container. Prefect's server runs here, too.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from benchmarks.serving import free_port

# The machine may be busy.
PATIENCE = 240


class Server:
    """Prefect's server, started by Prefect; it can be started again with what it knew."""

    def __init__(self, engines: Path, home: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/api"
        self.programs = engines
        # The server answers 503 while its SQLite is locked: Prefect's own client asks again too.
        again = Retry(8, backoff_factor=0.5, status_forcelist=[503], allowed_methods=None)
        self.http = requests.Session()
        self.http.mount(self.address, HTTPAdapter(max_retries=again))
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.address,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(self.programs / "prefect"), "server", "start", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE
        while not self.answers():
            assert time.monotonic() < end, "Prefect's server does not answer"
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            return requests.get(f"{self.address}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def stop(self) -> None:
        """Kill it, and what it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def post(self, path: str, asked: dict[str, Any]) -> Any:
        """Ask, and return the answer."""
        answer = self.http.post(f"{self.address}/{path}", json=asked, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def __call__(self, what: str) -> list[dict[str, Any]]:
        """Return all that it knows of a kind, such as ``"flow_runs"``."""
        return self.post(f"{what}/filter", {})

    def states(self) -> dict[str, str]:
        """Return each task of the newest flow run and how it ended."""
        newest = max(self("flow_runs"), key=lambda run: run["created"])
        tasks = [one for one in self("task_runs") if one["flow_run_id"] == newest["id"]]
        named = {re.sub("-[0-9a-f]{3}$", "", one["name"]): one["state_name"] for one in tasks}
        return {**named, "flow": newest["state_name"]}


def make_project(root: Path, steps: int) -> None:
    """Make a project of one notebook that is executed many times."""
    for folder in ("notebooks", "params"):
        (root / folder).mkdir(parents=True)
    parameters = nbformat.v4.new_code_cell("x: int = 0", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell("x + 1")])
    nbformat.write(notebook, root / "notebooks" / "01_a.ipynb")
    text = f"steps:\n  - notebook: 01_a\n    needs: []\n    matrix: {{x: {list(range(steps))}}}\n"
    (root / "params" / "many.yaml").write_text(text)


def seconds(*command: str | Path, env: dict[str, str]) -> float:
    """Return how long a command took that has to end well."""
    began = time.monotonic()
    done = subprocess.run(command, env=env, cwd=env["TAXI_NB_ROOT"], capture_output=True, text=True)
    taken = time.monotonic() - began
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return taken


def bytes_below(folder: Path) -> int:
    """Return the size of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print seconds and bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--engines", type=Path, default=Path(".venv-engines"))
    given = parser.parse_args()
    command, engines = Path(sys.executable).with_name("taxi-nb"), given.engines.resolve() / "bin"
    jobs = ("--jobs", str(given.jobs))
    with tempfile.TemporaryDirectory() as folder:
        server = Server(engines, Path(folder) / "prefect")
        try:
            for how in ("taxi-nb run", "Prefect"):
                root = Path(folder).resolve() / how.partition(" ")[0]
                make_project(root, given.steps)
                env = {**server.environment, "TAXI_NB_ROOT": str(root)}
                env["TAXI_NB_COMMAND"] = str(command)
                env["PREFECT_HOME"] = str(Path(folder) / "prefect")
                file = "params/many.yaml"
                if how == "Prefect":
                    seconds(command, "export", "prefect", file, "-o", "flow.py", *jobs, env=env)
                    taken = seconds(engines / "python", "flow.py", env=env)
                else:
                    taken = seconds(command, "run", file, *jobs, env=env)
                size = bytes_below(root) / given.steps / 1e3
                print(
                    f"{how:12} {given.steps} steps, {given.jobs} at a time: {taken:6.1f} s, "
                    f"{taken / given.steps:.2f} s and {size:.0f} kB a step",
                    flush=True,
                )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
