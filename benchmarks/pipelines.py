"""Whole pipelines against a shell loop of `papermill` commands, `dvc repro` and `ploomber build`.

    python -m benchmarks.pipelines [default] [imports] [unchanged] [changed] [--repeats 5]

Each way runs in a copy of this project of its own, in processes of its own, one after the other
within one repeat, so that a busy machine is busy for all. Medians are printed, and the ratio
within each repeat.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil

from taxi_nb.located_yaml import written_yaml
from taxi_nb.pipeline.pipeline_file import read_pipeline

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
IMPORTS = "import mlflow\nimport pandas\nimport seaborn\nimport sklearn"
SAMPLING_SECONDS = 0.5


@dataclass
class Measured:
    """Wall times of one way, and the memory that its processes had at most, in MB."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{statistics.median(self.seconds):7.2f} s  {max(self.megabytes):6.0f} MB"


def environment(root: Path) -> dict[str, str]:
    """Return the environment of a project's commands: its store, its code, no progress."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "TAXI_NB_"))}
    return {
        **kept,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "TAXI_NB_ROOT": str(root),
        "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def measure(command: Sequence[str], root: Path, into: Measured) -> None:
    """Run a command; note its wall time and the peak of its processes' memory together."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = _PeakMemory(process.pid)
    output, _ = process.communicate()
    into.seconds.append(time.perf_counter() - started)
    into.megabytes.append(peak.stop())
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{output[-3000:]}")


class _PeakMemory(threading.Thread):
    """Samples the memory of a process and its children; pages that they share count once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._peak = 0.0
        self.start()

    def run(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            self._peak = max(self._peak, self._now())

    def _now(self) -> float:
        total = 0.0
        try:
            for process in [self._process, *self._process.children(recursive=True)]:
                total += process.memory_full_info().pss
        except psutil.Error:
            return 0.0
        return total / 1e6

    def stop(self) -> float:
        self._done.set()
        self.join()
        return self._peak


def copy_project(folder: Path) -> Path:
    """Copy what a fresh clone has, without results, data and store."""
    root = folder.resolve()
    for name in ("notebooks", "params", "taxi_nb"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, root / name)
    compile_code = [sys.executable, "-m", "compileall", "-q", str(root / "taxi_nb")]
    subprocess.run(compile_code, check=True)
    return root


def forget(root: Path) -> None:
    """Remove results, data and store: the next run is cold."""
    for name in ("runs", "data", "mlartifacts", "out"):
        shutil.rmtree(root / name, ignore_errors=True)
    for database in root.glob("mlflow.db*"):
        database.unlink()


def papermill_loop(root: Path, file: str) -> list[str]:
    """Return the shell command that runs a pipeline's notebooks one by one."""
    pipeline = read_pipeline(root / "params" / file, root)
    (root / "out").mkdir(exist_ok=True)
    lines = ["set -e"]
    for number, step in enumerate(pipeline.steps):
        values = root / "out" / f"{number}.yaml"
        values.write_text(written_yaml(dict(step.parameters)))
        lines.append(
            f"papermill --no-progress-bar --cwd notebooks -f {values} {step.notebook} "
            f"out/{number}.ipynb"
        )
    return ["bash", "-c", "\n".join(lines)]


def make_import_notebooks(root: Path) -> None:
    """Write six notebooks that import and do nothing else, and their pipeline."""
    parameters = nbformat.v4.new_code_cell("x: int = 0", metadata={"tags": ["parameters"]})
    for number in range(6):
        cells = [parameters, nbformat.v4.new_code_cell(IMPORTS)]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, root / "notebooks" / f"imports_{number}.ipynb")
    steps = "".join(f"  - {{notebook: imports_{n}, needs: []}}\n" for n in range(6))
    (root / "params" / "imports.yaml").write_text(f"steps:\n{steps}")


def taxi_nb(*arguments: str) -> list[str]:
    """Return a command of ours."""
    return [str(BIN / "taxi-nb"), *arguments]


def against_the_loop(
    root: Path, file: str, ways: dict[str, list[str]], repeats: int
) -> dict[str, Measured]:
    """Measure the loop and ours, cold each time."""
    measured = {"shell loop of papermill": Measured(), **{way: Measured() for way in ways}}
    for _ in range(repeats):
        forget(root)
        measure(papermill_loop(root, file), root, measured["shell loop of papermill"])
        for way, command in ways.items():
            forget(root)
            measure(command, root, measured[way])
    return measured


def show(title: str, measured: dict[str, Measured]) -> None:
    """Print a table; ratios are to its first row, the median of those within each repeat."""
    print(f"\n{title}")
    first = next(iter(measured.values()))
    for way, result in measured.items():
        ratios = [a / b for a, b in zip(first.seconds, result.seconds, strict=True)]
        print(f"  {way:<42} {result}  {statistics.median(ratios):5.1f}x")


def bench_default(root: Path, repeats: int) -> None:
    """Measure the default pipeline, cold, and where its time goes."""
    ways = {"taxi-nb run --jobs 2": taxi_nb("run", "params/default.yaml", "-j", "2")}
    measured = against_the_loop(root, "default.yaml", ways, repeats)
    show("The default pipeline, cold", measured)
    show_parts(root)


def show_parts(root: Path) -> None:
    """Print where the seconds of the last run's steps went, summed over its steps."""
    from mlflow import MlflowClient

    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    record = json.loads((root / "runs" / "latest" / "run.json").read_text())
    parts = dict.fromkeys(("kernel start-up", "imports", "execution", "landing, tracking"), 0.0)
    for step in record["steps"]:
        info = client.get_run(step["mlflow_run_id"]).info
        cells = client.download_artifacts(step["mlflow_run_id"], "cell_seconds.json")
        seconds = [cell["seconds"] for cell in json.loads(Path(cells).read_text())]
        notebook = nbformat.read(root / "runs" / "latest" / step["executed_notebook"], 4)
        first = _first_import(notebook)
        parts["kernel start-up"] += step["startup_seconds"]
        parts["imports"] += seconds[first]
        parts["execution"] += sum(seconds) - seconds[first]
        whole = (info.end_time - info.start_time) / 1000
        parts["landing, tracking"] += whole - step["startup_seconds"] - sum(seconds)
    print(f"  of the last one's {record['seconds']:.1f} s, summed over steps side by side:")
    for part, total in parts.items():
        print(f"    {part:<20} {total:6.2f} s")


def _first_import(notebook: nbformat.NotebookNode) -> int:
    """Return the position, among all cells, of the first that imports."""
    return next(
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.source.startswith(("import ", "from "))
    )


def bench_imports(root: Path, repeats: int) -> None:
    """Measure notebooks that only import."""
    make_import_notebooks(root)
    ways = {
        f"taxi-nb run --jobs {jobs}": taxi_nb("run", "params/imports.yaml", "-j", str(jobs))
        for jobs in (1, 2)
    }
    measured = against_the_loop(root, "imports.yaml", ways, repeats)
    show("Six notebooks that import mlflow, pandas, seaborn, sklearn", measured)


def bench_changed(root: Path, repeats: int) -> None:
    """Measure a changed parameter of the last training step against the full run."""
    measured = {"full run": Measured(), "one changed parameter of 04_tune": Measured()}
    for _ in range(repeats):
        forget(root)
        run = taxi_nb("run", "params/default.yaml", "-j", "2")
        measure(run, root, measured["full run"])
        changed = [*run, "--set", "max_evals=9"]
        measure(changed, root, measured["one changed parameter of 04_tune"])
    record = json.loads((root / "runs" / "latest" / "run.json").read_text())
    show("One changed parameter of the last training step, --jobs 2", measured)
    ran = [step["name"] for step in record["steps"] if step["status"] != "cached"]
    print(f"  ran again: {', '.join(ran)}")


def bench_unchanged(root: Path, repeats: int) -> None:
    """Measure a run in which nothing changed against others with as many steps."""
    forget(root)
    measure(taxi_nb("run", "params/default.yaml", "-j", "2"), root, Measured())
    # The copy's environment is this one, and made.
    os.symlink(BIN.parent, root / ".venv")
    steps = len(read_pipeline(root / "params" / "default.yaml", root).steps)
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, tuple[list[str], Path]] = {
            "make run-notebooks": (
                ["make", "-s", "run-notebooks", "-o", "setup"],
                root,
            ),
            f"dvc repro, {steps} stages": dvc_project(Path(folder) / "dvc", steps),
            f"ploomber build, {steps} tasks": ploomber_project(Path(folder) / "ploomber", steps),
        }
        measured = {way: Measured() for way in ways}
        for _ in range(repeats):
            for way, (command, where) in ways.items():
                measure(command, where, measured[way])
    print("\nNothing changed")
    for way, result in measured.items():
        print(f"  {way:<42} {result}")


def tool(folder: Path, *requirements: str) -> Path:
    """Make an environment with some packages; return its folder of commands."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    pip = [str(folder / "env" / "bin" / "python"), "-m", "pip", "install", "-q", *requirements]
    subprocess.run(pip, check=True)
    return folder / "env" / "bin"


def dvc_project(folder: Path, steps: int) -> tuple[list[str], Path]:
    """Make a DVC project whose stages are up to date."""
    commands = tool(folder, "dvc")
    project = folder / "project"
    project.mkdir()
    stages = {
        f"step_{n}": {"cmd": f"echo {n} > out_{n}", "deps": [f"in_{n}"], "outs": [f"out_{n}"]}
        for n in range(steps)
    }
    for n in range(steps):
        (project / f"in_{n}").write_text(str(n))
    (project / "dvc.yaml").write_text(written_yaml({"stages": stages}))
    dvc = str(commands / "dvc")
    for command in (["git", "init", "-q"], [dvc, "init", "-q"], [dvc, "repro", "-q"]):
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    return [dvc, "repro"], project


def ploomber_project(folder: Path, steps: int) -> tuple[list[str], Path]:
    """Make a Ploomber project whose tasks are up to date."""
    commands = tool(folder, "ploomber", "setuptools<81")
    project = folder / "project"
    project.mkdir()
    for n in range(steps):
        source = '# %% tags=["parameters"]\nupstream = None\nproduct = None\n\n# %%\n'
        (project / f"step_{n}.py").write_text(f"{source}print({n})\n")
    tasks = [{"source": f"step_{n}.py", "product": f"out_{n}.ipynb"} for n in range(steps)]
    (project / "pipeline.yaml").write_text(written_yaml({"tasks": tasks}))
    ploomber = str(commands / "ploomber")
    subprocess.run([ploomber, "build"], cwd=project, check=True, capture_output=True)
    return [ploomber, "build"], project


BENCHMARKS: dict[str, Callable[[Path, int], None]] = {
    "default": bench_default,
    "imports": bench_imports,
    "unchanged": bench_unchanged,
    "changed": bench_changed,
}


def main() -> None:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], default=[])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    for name in given.names or BENCHMARKS:
        with tempfile.TemporaryDirectory() as folder:
            BENCHMARKS[name](copy_project(Path(folder) / "project"), given.repeats)


if __name__ == "__main__":
    main()
