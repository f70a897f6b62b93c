"""How long planning takes as steps grow, and what a run costs in which nothing changed.

    python -m benchmarks.planning

Steps are made up, with results as a run leaves them: 20 modules, 3 files, 80 packages each. What
no command can go below is beside: a program of Typer's that has one option, and does nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat

from taxi_nb.pipeline.inputs import Inputs, UsedFile
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.plan import plan
from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.spec import Pipeline
from taxi_nb.tracking.environment import installed_versions

REPEATS = 5
SIZES = (10, 100, 1000)
RUN = "20260101-000000-many"
NOTEBOOKS = 10
BARE = """
import typer

app = typer.Typer()


@app.command()
def nothing(option: int = 1) -> None: ...


app()
"""


def make_project(root: Path, steps: int) -> Pipeline:
    """Make a project of some notebooks and many steps, in the order that it is written."""
    for folder in ("notebooks", "params", "code", f"runs/{RUN}"):
        (root / folder).mkdir(parents=True)
    for number in range(NOTEBOOKS):
        parameters = nbformat.v4.new_code_cell("x: int = 0", metadata={"tags": ["parameters"]})
        cells = [nbformat.v4.new_code_cell(f"print({line})") for line in range(10)]
        notebook = nbformat.v4.new_notebook(cells=[parameters, *cells])
        nbformat.write(notebook, root / "notebooks" / f"{number:02}.ipynb")
    for number in range(20):
        lines = [f"def f{line}(x):\n    return x + {line}\n" for line in range(40)]
        (root / "code" / f"module_{number}.py").write_text("\n".join(lines))
        (root / "code" / f"data_{number}.csv").write_text(f"{number}\n" * 1000)
    text = "steps:\n" + "".join(
        f"  - {{notebook: '{n % NOTEBOOKS:02}', name: step_{n}, params: {{x: {n}}}}}\n"
        for n in range(steps)
    )
    (root / "params" / "many.yaml").write_text(text)
    return read_pipeline(root / "params" / "many.yaml", root)


def make_results(pipeline: Pipeline, database: Path) -> None:
    """Keep a result for each step, as runs do."""
    import sqlite3

    memory = Memory(pipeline)
    root = pipeline.root
    modules = {
        f"code/module_{n}.py": memory.digests.definitions(root / "code" / f"module_{n}.py") or {}
        for n in range(20)
    }
    files = {
        f"code/data_{n}.csv": UsedFile(memory.digests.content(root / "code" / f"data_{n}.csv"))
        for n in range(3)
    }
    packages = dict(list(installed_versions().items())[:80])
    upstream: dict[str, str] = {}
    with sqlite3.connect(database) as store:
        for step in pipeline.steps:
            run_id = f"{len(upstream):032x}"
            notebook = root / "runs" / RUN / f"{step.name}.ipynb"
            notebook.write_text("{}")
            inputs: Inputs = replace(
                memory.inputs_before(step), modules=modules, files=files, packages=packages
            )
            result = StepResult(
                step.name,
                "notebook",
                mlflow_run_id=run_id,
                executed_notebook=notebook.name,
                kind="step",
                executed_in=RUN,
                notebook_size=notebook.stat().st_size,
                artifacts={},
                used=inputs,
            )
            memory.results.keep(pipeline.name, result)
            store.execute(
                "INSERT INTO runs (run_uuid, experiment_id, lifecycle_stage, status) "
                "VALUES (?, 0, 'active', 'FINISHED')",
                (run_id,),
            )
            upstream[step.name] = run_id
    time.sleep(2.1)  # Stamps are not trusted before.
    plan_of(pipeline)


def make_store(database: Path) -> None:
    """Make MLflow's tables."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make: Any = SqlAlchemyStore
    make(f"sqlite:///{database}", str(database.parent / "artifacts"))


def plan_of(pipeline: Pipeline) -> int:
    """Plan; return how many steps will run."""
    memory = Memory(pipeline)
    made = plan(pipeline, memory)
    memory.digests.save()
    return len(made.will_run)


def command_seconds(root: Path, *command: str) -> tuple[float, str]:
    """Return the wall time of a whole command, in a process of its own, and what it said."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=root,
        env={**os.environ, "TAXI_NB_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - started, done.stdout


def plan_seconds(root: Path) -> float:
    """Return the wall time of a plan."""
    seconds, said = command_seconds(root, "-m", "taxi_nb", "plan", "params/many.yaml")
    assert "nothing will run" in said, said[-300:]
    return seconds


def main() -> None:
    """Print the table."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.db"
        make_store(empty)
        for size in SIZES:
            root = Path(folder).resolve() / str(size)
            pipeline = make_project(root, size)
            os.environ["TAXI_NB_ROOT"] = str(root)
            shutil.copy(empty, root / "mlflow.db")
            make_results(pipeline, root / "mlflow.db")
            seconds = [plan_seconds(root) for _ in range(REPEATS)]
            rows.append((size, statistics.median(seconds)))
        bare = [command_seconds(Path(folder), "-c", BARE)[0] for _ in range(REPEATS)]
    print(f"`taxi-nb plan`, the whole command, nothing changed; median of {REPEATS}")
    for size, median in rows:
        print(f"{size:>6} steps  {median:6.2f} s  {1000 * median / size:7.2f} ms a step")
    print(f"a bare program of Typer's {statistics.median(bare):.2f} s")
    print(json.dumps({str(size): round(median, 3) for size, median in rows}))


if __name__ == "__main__":
    main()
