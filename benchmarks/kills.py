"""End `taxi-nb run` at random moments by signals, run it again, and see that all is right.

    python -m benchmarks.kills [--times 25] [--seed 1] [--late]

Each time a small pipeline, in which steps hand on a number by files, starts from nothing, every
third time without a store. It is ended by SIGKILL (as a loss of power would end it), SIGTERM,
SIGINT or SIGHUP, and run again to its end. Then its result has to be right, the books of both
runs have to agree (run.json, MLflow, page), no run may be left open, no process and no half file
left behind, and nothing may be left to do. With `--late` signals come while the run finishes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import nbformat
import psutil

STEPS = 4
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What MLflow has to say of a run that has this status in its record.
IN_MLFLOW = {
    **{"ok": "FINISHED", "cached": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"},
    **{"timeout": "FAILED", "kernel-died": "FAILED"},
}


def make_project(root: Path, steps: int = STEPS, seconds: float = 0.2) -> None:
    """Write steps of which each doubles what the one before it wrote."""
    for folder in ("notebooks", "params"):
        (root / folder).mkdir(parents=True)
    for number in range(steps):
        before = f"int(open('../made_{number - 1}.txt').read())" if number else "1"
        code = (
            "import os, time, mlflow\n"
            f"value = 2 * {before}\n"
            f"time.sleep({seconds})\n"
            f"with open('../made.part', 'w') as file:\n    file.write(str(value))\n"
            f"os.replace('../made.part', '../made_{number}.txt')\n"
            "mlflow.log_metric('value', value)"
        )
        parameters = nbformat.v4.new_code_cell("x: int = 0", metadata={"tags": ["parameters"]})
        notebook = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, root / "notebooks" / f"{number:02}.ipynb")
    lines = "".join(f"  - {{notebook: '{number:02}'}}\n" for number in range(steps))
    (root / "params" / "chain.yaml").write_text(f"steps:\n{lines}")


def command(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `taxi-nb` in a project."""
    return subprocess.Popen(
        [sys.executable, "-m", "taxi_nb", *arguments, "params/chain.yaml"],
        cwd=root,
        env={**os.environ, "TAXI_NB_ROOT": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def mistakes(root: Path) -> list[str]:
    """Run to the end and return everything that is wrong then."""
    done = command(root, "run")
    _, err = done.communicate(timeout=120)
    found = [f"exit code {done.returncode}: {err}"] if done.returncode else []
    value = (root / f"made_{STEPS - 1}.txt").read_text()
    if value != str(2**STEPS):
        found.append(f"the result is {value}")
    record = json.loads((root / "runs" / "latest" / "run.json").read_text())
    values = [step["metrics"].get("value") for step in record["steps"]]
    if values != [2.0 ** (number + 1) for number in range(STEPS)]:
        found.append(f"the metrics are {values}")
    found += [f"left open: {name}" for name in open_runs(root)]
    found += disagreements(root)
    found += [f"left behind: {path}" for path in (root / "runs" / "latest").glob(".*")]
    found += [f"still alive: {process}" for process in processes(root)]
    planned, _ = command(root, "plan").communicate(timeout=60)
    if "nothing will run" not in planned:
        found.append(f"left to do:\n{planned}")
    return found


def disagreements(root: Path) -> list[str]:
    """Return where the record of a run, its page and MLflow say different things."""
    with closing(sqlite3.connect(root / "mlflow.db")) as store:
        states = dict(store.execute("SELECT run_uuid, status FROM runs"))
    found = []
    for file in (root / "runs").glob("[0-9]*/run.json"):
        record = json.loads(file.read_text())
        ended = [("run", record), *((step["name"], step) for step in record["steps"])]
        for name, entry in ended:
            state = states.get(entry["mlflow_run_id"])
            if state is not None and state != IN_MLFLOW.get(entry["status"]):
                found.append(f"{file.parent.name} {name}: {entry['status']}, {state} in MLflow")
        if not (file.parent / "index.html").exists():
            found.append(f"{file.parent.name}: {record['status']} without a page")
    return found


def open_runs(root: Path) -> list[str]:
    """Return the names of runs that nobody ended."""
    with closing(sqlite3.connect(root / "mlflow.db")) as store:
        return [row[0] for row in store.execute("SELECT name FROM runs WHERE status = 'RUNNING'")]


def processes(root: Path) -> list[str]:
    """Return the processes that still work for a project."""
    found = []
    for process in psutil.process_iter(["pid", "environ", "status"]):
        environment = process.info["environ"] or {}
        if environment.get("TAXI_NB_ROOT") == str(root) and process.info["status"] != "zombie":
            found.append(f"{process.info['pid']}")
    return found


def forget(root: Path, store: Path | None) -> None:
    """Start from nothing but a store with its tables, or from nothing at all."""
    for name in ("runs", "mlartifacts"):
        shutil.rmtree(root / name, ignore_errors=True)
    for path in root.glob("made*"):
        path.unlink()
    for path in root.glob("mlflow.db*"):
        path.unlink()
    if store:
        shutil.copy(store, root / "mlflow.db")


def _is_finishing(record: Path) -> bool:
    try:
        steps = json.loads(record.read_bytes())["steps"]
    except OSError:
        return False
    return all(step["status"] == "ok" for step in steps)


def main() -> None:
    """End it as often as asked; the exit code is not zero if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--late", action="store_true")
    given = parser.parse_args()
    draw = random.Random(given.seed)
    wrong: list[str] = []
    done_before: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "project"
        make_project(root)
        command(root, "run").communicate(timeout=120)
        store = Path(folder) / "store.db"
        shutil.copy(root / "mlflow.db", store)
        forget(root, store)
        begun = time.monotonic()
        command(root, "run").communicate(timeout=120)
        whole = time.monotonic() - begun
        for turn in range(given.times):
            forget(root, None if turn % 3 == 2 and not given.late else store)
            process = command(root, "run")
            if given.late:
                record = root / "runs" / "latest" / "run.json"
                while not _is_finishing(record) and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(draw.uniform(0, 0.5))
            else:
                time.sleep(draw.uniform(0, 1.1 * whole))
            number = draw.choice(SIGNALS)
            process.send_signal(number)
            process.communicate(timeout=120)
            done_before[len(list((root / "runs").glob(".results/keys/*/*.json")))] += 1
            name = signal.Signals(number).name
            found = [f"time {turn}, {name}: {mistake}" for mistake in mistakes(root)]
            if found or turn % 20 == 19:  # what was seen is kept if this is ended before its end
                print(*found, f"{turn + 1} of {given.times}", sep="\n", file=sys.stderr, flush=True)
            wrong += found
    kept = ", ".join(f"{count} times after {steps}" for steps, count in sorted(done_before.items()))
    print(f"ended {given.times} times ({kept} of {STEPS} steps): {len(wrong)} mistakes")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
