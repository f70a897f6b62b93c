"""How long a training step takes whose fit takes 0.03 s, and where its seconds go.

    python -m benchmarks.steps [--steps 4] [--against OTHER_CHECKOUT]

A pipeline trains *linear* on the sample again and again, one step after the other, each in a fresh
kernel. Seconds are medians of the steps after the first, which waits for the kernels' server. With
another checkout of this project both take turns, so that a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 2
HEAD = """experiment: steps
params: {source: sample, train_months: [2021-01], valid_months: [2021-02], sample_rows: 30000}
steps:
"""
# The cells of the notebook by what they do, found by their code.
PARTS = {"load": "load_split(", "train and log": "train(", "figures": "predicted_against_actual"}


def make_project(checkout: Path, folder: Path, steps: int) -> Path:
    """Copy a checkout's notebooks; let a pipeline train so often, one step after the other."""
    for name in ("notebooks", "params"):
        shutil.copytree(checkout / name, folder / name)
    shutil.copy(checkout / "requirements.lock", folder)
    lines = [
        f"  - {{notebook: 03_train, name: step_{n}, params: {{model: linear}}, "
        f"needs: [{f'step_{n - 1}' if n else ''}]}}\n"
        for n in range(steps + 1)
    ]
    (folder / "params" / "steps.yaml").write_text(HEAD + "".join(lines))
    return folder


def run(checkout: Path, project: Path) -> list[dict[str, float]]:
    """Run all steps; return for each but the first what took how many seconds."""
    subprocess.run(
        [sys.executable, "-m", "taxi_nb", "run", "params/steps.yaml", "--force"],
        cwd=project,
        env={**os.environ, "TAXI_NB_ROOT": str(project), "PYTHONPATH": str(checkout)},
        check=True,
        capture_output=True,
    )
    record = json.loads((project / "runs" / "latest" / "run.json").read_text())
    found = []
    for step in record["steps"][1:]:
        notebook = json.loads((project / "runs" / "latest" / step["executed_notebook"]).read_text())
        codes = ["".join(cell["source"]) for cell in notebook["cells"]]
        parts = dict.fromkeys(PARTS, 0.0)
        for cell in cell_seconds(project, step["mlflow_run_id"]):
            code = codes[int(cell["cell"]) - 1]
            for part, of in PARTS.items():
                if of in code and "import" not in code:
                    parts[part] += cell["seconds"]
                    break
        known = {"step": step["seconds"], "kernel ready": step["startup_seconds"], **parts}
        known["start, other cells, end"] = known["step"] - sum(list(known.values())[1:])
        found.append(known)
    return found


def cell_seconds(project: Path, run_id: str) -> list[dict[str, float]]:
    """Return the seconds of each cell, as the step's run has them."""
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        asked = "SELECT artifact_uri FROM runs WHERE run_uuid = ?"
        (address,) = store.execute(asked, (run_id,)).fetchone()
    folder = Path(url2pathname(urlsplit(address).path))
    return list(json.loads((folder / "cell_seconds.json").read_text()))


def main() -> None:
    """Print a table: what takes how many seconds of a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--against", type=Path)
    given = parser.parse_args()
    ways = {"here": ROOT} | ({"there": given.against.resolve()} if given.against else {})
    with tempfile.TemporaryDirectory() as folder:
        projects = {
            way: make_project(checkout, Path(folder).resolve() / way, given.steps)
            for way, checkout in ways.items()
        }
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(REPEATS):
            for way, checkout in ways.items():
                found[way] += run(checkout, projects[way])
    print(f"{'seconds':<26}" + "".join(f"{way:>9}" for way in ways))
    for part in found["here"][0]:
        medians = [statistics.median(step[part] for step in found[way]) for way in ways]
        print(f"{part:<26}" + "".join(f"{median:9.3f}" for median in medians))


if __name__ == "__main__":
    main()
