"""Inputs that once gave wrong records, each with what is right; all through the command line.

    python -m tests.cases [NAME...]

The suite holds each kind by a test of its own, in the room that it belongs to. This runs them as a
user would, in processes of their own, and says for each whether it is right.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import Project, texts

Check = Callable[["Ran"], bool]
CASES: dict[str, Callable[[Path], Check]] = {}
ONE = "steps: [{notebook: a}]"


@dataclass(frozen=True)
class Ran:
    """What became of a command in a project."""

    root: Path
    code: int
    said: str

    def shown(self) -> str:
        """Return what the executed notebook shows."""
        return texts(self.root / "runs" / "latest" / "a.ipynb")

    def page(self, name: str = "a") -> str:
        return (self.root / "runs" / "latest" / f"{name}.html").read_text("utf-8")

    def again(self, *arguments: str) -> Ran:
        return taxi_nb(self.root, *arguments)

    def refused(self, *words: str) -> bool:
        """Whether it was refused before anything ran, in lines without a traceback."""
        is_told = all(word in self.said for word in words) and "Traceback" not in self.said
        return self.code == 2 and is_told and not (self.root / "runs" / "latest").exists()


@cache
def empty_store() -> Path:
    """Make an SQLite store with MLflow's tables and nothing in them."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))  # type: ignore[no-untyped-call]
    return folder / "mlflow.db"


def taxi_nb(root: Path, *arguments: str) -> Ran:
    """Run the command line in a project, which gets a store with its tables: they take seconds."""
    if not (root / "mlflow.db").exists():
        shutil.copy(empty_store(), root / "mlflow.db")
    done = subprocess.run(
        [sys.executable, "-m", "taxi_nb", *arguments],
        cwd=root,
        env={**os.environ, "TAXI_NB_ROOT": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Ran(root, done.returncode, done.stdout + done.stderr)


def case(build: Callable[[Path], Check]) -> Callable[[Path], Check]:
    CASES[build.__name__.removeprefix("case_")] = build
    return build


def project(root: Path, *cells: str, parameters: str = "", yaml: str = ONE) -> Project:
    made = Project(root)
    made.notebook("a", *cells, parameters=parameters)
    made.pipeline(yaml)
    return made


def tagged(root: Path, source: str, tag: str, at: int = 1) -> None:
    """Put a cell with a tag into the notebook."""
    path = root / "notebooks" / "a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(at, nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}))
    nbformat.write(notebook, path)


def run(root: Path) -> Ran:
    return taxi_nb(root, "run", "params/test.yaml")


@case
def nan_metric(root: Path) -> Check:
    log = "from taxi_nb import tracked_run\nimport mlflow\nwith tracked_run():\n    "
    project(root, f"{log}mlflow.log_metric('rmse', value)", parameters="value: float = 1.0",
            yaml=f"params: {{value: .nan}}\n{ONE}")  # fmt: skip

    def right(ran: Ran) -> bool:
        def refuse(token: str) -> None:
            raise ValueError(token)

        record = (root / "runs" / "latest" / "run.json").read_text()
        json.loads(record, parse_constant=refuse)
        later = ran.again("run", "params/test.yaml", "--set", "value=2.0")
        return ran.code == 0 and "NaN" in ran.page("index") and later.code == 0

    return right


def _folder(name: str) -> Callable[[Path], Check]:
    def build(root: Path) -> Check:
        inside = root / name
        project(inside, "print(1)")

        def right(_: Ran) -> bool:
            ran = run(inside)
            planned = ran.again("plan", "params/test.yaml")
            return ran.code == 0 and "up to date" in planned.said and os.listdir(root) == [name]

        return right

    return build


for name in ("my {project} 1", "nb#1", "a?b", 'it\'s 100% "so"'):
    CASES[f"folder {name}"] = _folder(name)


@case
def integer_keys(root: Path) -> Check:
    weights = "weights: dict[int, float] = {1: 0.9}"
    project(root, "assert weights == {1: 0.5}", parameters=weights,
            yaml=f"params: {{weights: {{1: 0.5}}}}\n{ONE}")  # fmt: skip
    return lambda ran: ran.code == 0


@case
def leftover_injected_cell(root: Path) -> Check:
    project(root, "print('seed', seed)", parameters="seed: int = 1")
    tagged(root, "seed = 7", "injected-parameters")
    return lambda ran: ran.code == 0 and "seed 1" in ran.shown()


@case
def injected_before_parameters(root: Path) -> Check:
    project(root, "print('seed', seed)", parameters="seed: int = 1",
            yaml=f"params: {{seed: 3}}\n{ONE}")  # fmt: skip
    tagged(root, "seed = 7", "injected-parameters", at=0)
    return lambda ran: ran.code == 0 and "seed 3" in ran.shown()


@case
def raises_exception(root: Path) -> Check:
    project(root, "print('after')")
    tagged(root, "1/0", "raises-exception")
    return lambda ran: ran.code == 0 and "after" in ran.shown()


@case
def sys_exit_zero(root: Path) -> Check:
    project(root, "import sys; sys.exit(0)", "print('after')")
    return lambda ran: ran.code == 0 and "after" not in ran.shown()


@case
def many_outputs(root: Path) -> Check:
    project(root, "import sys\nfor i in range(20_000): print(f'\\r{i} ', end='', flush=True)")
    return lambda ran: ran.code == 0 and "19999" in ran.page()


def _file(change: Callable[[bytes], bytes], *words: str) -> Callable[[Path], Check]:
    """Change the bytes of a notebook; it has to be refused by these words, or else to run."""

    def build(root: Path) -> Check:
        project(root, "print(seed)", parameters="seed: int = 1")
        path = root / "notebooks" / "a.ipynb"
        path.write_bytes(change(path.read_bytes()))
        shown = ("notebooks/a.ipynb", *words)
        return lambda ran: ran.refused(*shown) if words else ran.code == 0 and "1" in ran.shown()

    return build


def _with_tags(content: bytes, tags: Any) -> bytes:
    notebook = json.loads(content)
    notebook["cells"][1]["metadata"]["tags"] = tags
    return json.dumps(notebook).encode()


CASES["null tags"] = _file(lambda content: _with_tags(content, None))
CASES["tags that are a text"] = _file(lambda content: _with_tags(content, "x"), "cell 2", "`tags`")
CASES["notebook with a BOM"] = _file(lambda content: b"\xef\xbb\xbf" + content)
CASES["notebook in UTF-16"] = _file(lambda content: content.decode().encode("utf-16"), "UTF-16")
CASES["notebook for R"] = _file(lambda content: content.replace(b'"python3"', b'"ir"'), "'ir'")


def _yaml(text: str, *words: str, given: tuple[str, ...] = ()) -> Callable[[Path], Check]:
    def build(root: Path) -> Check:
        project(root, "1", parameters="x: dict = {}\nday: str = ''", yaml=text)
        return lambda ran: ran.again("plan", "params/test.yaml", *given).refused(*words)

    return build


CASES["YAML cycle"] = _yaml(f"params: {{x: &a {{b: *a}}}}\n{ONE}", "params/test.yaml:1:")
CASES["YAML list as key"] = _yaml(f"params: {{x: {{? [1, 2] : 3}}}}\n{ONE}", "params/test.yaml:1:")
CASES["date that is none"] = _yaml(ONE, "--set day", given=("--set", "day=2021-02-31"))


@case
def tuple_default(root: Path) -> Check:
    project(root, "print(months)", parameters="months = ('2021-01',)",
            yaml=f"params: {{months: [2021-02]}}\n{ONE}")  # fmt: skip
    return lambda ran: ran.code == 0 and "('2021-02',)" in ran.shown()


@case
def long_matrix_value(root: Path) -> Check:
    project(root, "1", parameters="name: str = ''",
            yaml=f"steps: [{{notebook: a, matrix: {{name: [{'ü' * 300}, b]}}}}]")  # fmt: skip
    return lambda ran: ran.code == 0


@case
def attachment_by_img(root: Path) -> Check:
    made = project(root, "#md <img src='attachment:one.png'>")
    path = made.root / "notebooks" / "a.ipynb"
    notebook = nbformat.read(path, as_version=4)
    dot = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
        "rkJggg=="
    )
    notebook.cells[1]["attachments"] = {"one.png": {"image/png": dot}}
    nbformat.write(notebook, path)
    return lambda ran: "held back" not in ran.page() and "<img" in ran.page()


@case
def heading_links(root: Path) -> Check:
    project(root, "#md # Data loading\n\n[there](#Data-loading)")

    def right(ran: Ran) -> bool:
        page = ran.page()
        link = page.partition(">there<")[0].rpartition('href="#')[2].partition('"')[0]
        return bool(link) and f'id="{link}"' in page

    return right


@case
def progress_line(root: Path) -> Check:
    project(root, "for i in range(41): print(f'\\r{i}/40', end='')")
    return lambda ran: "40/40" in ran.page() and "17/40" not in ran.page()


@case
def huge_error_message(root: Path) -> Check:
    project(root, "raise ValueError('x' * 3_000_000)")

    def right(ran: Ran) -> bool:
        record = (root / "runs" / "latest" / "run.json").read_text()
        sizes = [len(ran.said), len(record), len(ran.page("index"))]
        return ran.code == 1 and max(sizes) < 100_000 and "xxxx" in ran.said

    return right


@case
def set_experiment(root: Path) -> Check:
    lines = "import mlflow\nmlflow.set_experiment('my own')\nwith mlflow.start_run(): "
    project(root, f"{lines}mlflow.log_metric('a', 1)")

    def right(ran: Ran) -> bool:
        record = json.loads((root / "runs" / "latest" / "run.json").read_text())
        return ran.code == 0 and record["steps"][0]["metrics"]["a"] == 1

    return right


@case
def many_cells(root: Path) -> Check:
    project(root, *(f"x{number} = {number}" for number in range(400)))

    def right(ran: Ran) -> bool:
        record = json.loads((root / "runs" / "latest" / "run.json").read_text())
        return ran.code == 0 and record["steps"][0]["seconds"] < 20

    return right


def _month(write: Callable[[Path], object], *words: str) -> Callable[[Path], Check]:
    """Load a month that was written so; it has to be refused by these words, or to give trips."""

    def build(root: Path) -> Check:
        project(root, "from taxi_nb import load_trips",
                "print(len(load_trips('green', ['2021-01'], 'months', engine=engine)), 'trips')",
                parameters="engine: str = 'pyarrow'")  # fmt: skip
        (root / "months").mkdir()
        write(root / "months" / "green_tripdata_2021-01.parquet")
        ok: Check = lambda ran: ran.code == 0 and f"{ROWS} trips" in ran.shown()  # noqa: E731
        return (lambda ran: ran.code == 1 and all(w in ran.said for w in words)) if words else ok

    return build


ROWS = 500


def _trips(zones: str = "int64") -> pa.Table:
    start = 1609500000_000_000
    pickup = [start + 4_000_000 * 1000 * row for row in range(ROWS)]
    dropoff = [stamp + 600_000_000 for stamp in pickup]
    zone = ["7"] * ROWS if zones == "string" else [7] * ROWS
    return pa.table(
        {
            "lpep_pickup_datetime": pa.array(pickup, pa.timestamp("us")),
            "lpep_dropoff_datetime": pa.array(dropoff, pa.timestamp("us")),
            "PULocationID": pa.array(zone, zones),
            "DOLocationID": pa.array(zone, zones),
            "trip_distance": pa.array([1.5] * ROWS),
        }
    )


def _delta(path: Path) -> None:
    coded = {"lpep_pickup_datetime": "DELTA_BINARY_PACKED"}
    pq.write_table(_trips(), path, use_dictionary=False, column_encoding=coded)


def _text_zones(path: Path) -> None:
    coded = dict.fromkeys(("PULocationID", "DOLocationID"), "DELTA_LENGTH_BYTE_ARRAY")
    pq.write_table(_trips("string"), path, use_dictionary=False, column_encoding=coded)


def _twice(path: Path) -> None:
    trips = _trips()
    pq.write_table(trips.append_column("trip_distance", trips["trip_distance"]), path)


CASES["delta stamps"] = _month(_delta)
CASES["text zones, delta length"] = _month(_text_zones)
CASES["column twice"] = _month(_twice, "trip_distance more than once")
CASES["dangling month"] = _month(lambda path: path.symlink_to("gone.parquet"), "link to gone")


def main(chosen: list[str]) -> int:
    """Run the cases; return how many are not right."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, build in CASES.items():
            if chosen and name not in chosen:
                continue
            root = Path(folder).resolve() / f"case {len(os.listdir(folder))}"
            root.mkdir()
            started = time.monotonic()
            try:
                right = build(root)
                needs_run = (root / "params").is_dir() and not name.startswith(("YAML", "date"))
                is_right = right(run(root) if needs_run else Ran(root, 0, ""))
            except Exception as error:
                is_right = False
                print(f"  {type(error).__name__}: {error}")
            wrong += not is_right
            seconds = time.monotonic() - started
            print(f"{'right' if is_right else 'WRONG'}  {seconds:5.1f} s  {name}", flush=True)
            shutil.rmtree(root)
            root.mkdir()
    print(f"{wrong} of {len(chosen or CASES)} are not right")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
