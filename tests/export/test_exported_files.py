"""What `taxi-nb export` writes, and what it refuses before anything is written."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from taxi_nb.cli import app
from taxi_nb.export.kubeflow import kubeflow_pipeline
from taxi_nb.export.prefect import Deployment, monthly_flow, prefect_flow
from taxi_nb.located_yaml import read_located_yaml
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.spec import Pipeline
from tests.conftest import REPOSITORY, Project

IMAGE = ["--image", "team/taxi:1.2"]
CRON = "0 6 2 * *"


def command(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["export", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def pipeline(project: Project, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline in which each kind of parameter and of need comes up."""
    monkeypatch.setenv("HIDDEN", "a long secret")
    project.notebook("01_a", "1", parameters="seed: int = 1\nlabels: list[str] = []\nkey: str = ''")
    project.notebook(
        "02_b",
        "1",
        parameters=(
            "seed: int = 1\nsize: int = 0\noptions: dict = {}\nmode: Literal['x', 'y'] = 'x'\n"
            "rate: float = 0.5\nwhere: Path | None = None"
        ),
    )
    project.notebook("03_c", "1", parameters="options: dict = {}\npair: tuple[int, ...] = (1,)")
    file = project.pipeline(
        "params: {seed: 7, labels: [it's, 'a \"b\"'], key: 'env:HIDDEN'}\n"
        "timeout: 2h\n"
        "steps:\n"
        "  - notebook: 01_a\n"
        "  - notebook: 02_b\n"
        "    matrix: {size: [1, 2]}\n"
        "    params: {options: {n: 3}, mode: y, rate: 1, where: null}\n"
        "    retries: 2\n"
        "  - {notebook: 03_c, needs: [01_a, '02_b[2]'], timeout: 90s, params: {pair: [1, 2]}}\n"
    )
    return read_pipeline(file, project.root)


def flow(pipeline: Pipeline, **options: Any) -> str:
    text = prefect_flow(pipeline, pipeline.root / "flow.py", Deployment(**options))
    compile(text, "flow.py", "exec")
    return text


def test_a_flow_has_a_task_for_each_step_with_its_needs_retries_and_timeout(
    pipeline: Pipeline,
) -> None:
    text = flow(pipeline)
    calls = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("start(")
    ]
    first, one, two, last = calls
    assert first == "step_01_a = start('01_a', run, timeout=7200.0)"
    # Without declared needs a step waits for all before it.
    assert one == (
        "step_02_b_1 = start('02_b[1]', run, needs=[step_01_a], retries=2, timeout=7200.0)"
    )
    assert two.startswith("step_02_b_2 = start('02_b[2]'")
    assert last == "step_03_c = start('03_c', run, needs=[step_01_a, step_02_b_2], timeout=90.0)"


def test_a_flows_parameters_have_types_and_the_files_values(pipeline: Pipeline) -> None:
    (made,) = (
        node
        for node in ast.walk(ast.parse(flow(pipeline)))
        if isinstance(node, ast.FunctionDef) and node.name == "test_flow"
    )
    shown = ast.unparse(made.args).replace('"', "'")
    assert shown.startswith("seed: int=7, labels: list[str]=['it's', ")
    assert "mode: Literal['x', 'y']='y', rate: float=1, where: Any=None" in shown
    # Its two notebooks have different ones: each keeps its own.
    assert "options: dict | None=None" in shown
    assert shown.endswith("pair: list[int]=[1, 2], accept: list[str] | None=None")
    # An axis decides which steps there are; a secret stays where the pipeline runs.
    assert "size" not in shown
    assert "key" not in shown


def test_a_flow_needs_nothing_of_the_project_and_is_formatted(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    texts = [flow(pipeline), flow(pipeline, work_pool="ours", cron=CRON)]
    texts.append(flow(pipeline, work_pool="ours", image="team/taxi:1.2"))
    for file in sorted((REPOSITORY / "params").glob("*.yaml")):
        ours = read_pipeline(file, REPOSITORY, newest_month=lambda _: "2021-05")
        texts.append(prefect_flow(ours, REPOSITORY / "flow.py", Deployment()))
        if ours.month:
            texts.append(monthly_flow(ours, REPOSITORY / "flow.py", Deployment("ours", cron=CRON)))
    for number, text in enumerate(texts):
        assert "import taxi_nb" not in text
        (tmp_path / f"flow{number}.py").write_text(text)
    ruff = [Path(sys.executable).with_name("ruff")]
    for check in (["check", "--isolated", "--select", "F,E,I", "--ignore", "E402"], ["format"]):
        told = ["--line-length=100", *(["--diff"] if check == ["format"] else [])]
        done = subprocess.run([*ruff, *check, *told, tmp_path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_flow_of_months_has_one_typed_parameter_and_one_task(project: Project) -> None:
    project.notebook("01_a", "1", parameters="train_months: list[str] = []\nsize: int = 1")
    project.pipeline(
        "month: latest\nparams: {train_months: '{month-1}'}\n"
        "steps: [{notebook: 01_a, matrix: {size: [1, 2]}}]\n",
        "every",
    )
    code, _, error = command(
        *("prefect", "params/every.yaml", "--monthly", "-o", "months.py", "--cron", CRON, "-j", "2")
    )
    assert (code, error) == (0, "")
    text = (project.root / "months.py").read_text()
    (made,) = (
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name == "every_months_flow"
    )
    assert ast.unparse(made.args) == "month: str='latest', accept: list[str] | None=None"
    assert 'PARAMS = "params/every.yaml"' in text
    assert "JOBS = 2" in text
    assert f'every_months_flow.serve(name="every-months", cron="{CRON}")' in text


def test_a_parameter_may_have_the_name_of_what_a_flow_uses(project: Project) -> None:
    names = ["start", "run", "os", "steps", "wait", "Path"]
    project.notebook("01_a", "1", parameters="\n".join(f"{name}: int = 1" for name in names))
    given = ", ".join(f"{name}: 2" for name in names)
    file = project.pipeline(f"params: {{{given}}}\nsteps: [{{notebook: 01_a}}]")
    tree = ast.parse(flow(read_pipeline(file, project.root)))
    (made,) = (one for one in tree.body if getattr(one, "name", "") == "test_flow")
    # Its body is its docstring and calls of nothing that a parameter hides.
    *_, values, call = ast.unparse(made).splitlines()
    assert values.strip() == "values = dict(locals())"
    assert call.strip() == "_carry_out(values, values.pop('accept') or [])"


def test_a_flow_finds_the_project_from_another_folder(pipeline: Pipeline) -> None:
    text = prefect_flow(pipeline, pipeline.root / "flows" / "daily.py", Deployment())
    assert 'PROJECT = Path(__file__).resolve().parent / ".."' in text


def test_a_kubeflow_pipeline_has_a_component_for_each_step(pipeline: Pipeline) -> None:
    assert command("kubeflow", "params/test.yaml", "-o", "p.yaml", *IMAGE, "--env", "A=b")[0] == 0
    made = read_located_yaml(pipeline.root / "p.yaml").value
    tasks = made["root"]["dag"]["tasks"]
    steps = {"step-01-a": "01_a", "step-02-b-1": "02_b[1]", "step-02-b-2": "02_b[2]"}
    steps["step-03-c"] = "03_c"
    assert list(tasks) == ["open", *steps, "close"]
    for name, shown in steps.items():
        assert tasks[name]["taskInfo"]["name"] == shown
        container = made["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
        assert container["image"] == "team/taxi:1.2"
        assert container["env"] == [{"name": "A", "value": "b"}]
        assert container["args"][2:] == ["params/test.yaml", shown]
        assert made["components"][f"comp-{name}"]["executorLabel"] == f"exec-{name}"
    # A step itself knows whether it is up to date.
    assert all(task["cachingOptions"] == {} for task in tasks.values())
    assert tasks["step-03-c"]["dependentTasks"] == ["open", "step-01-a", "step-02-b-2"]
    # The pauses are those of `taxi-nb run`.
    assert tasks["step-02-b-1"]["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "1s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "60s",
    }
    assert set(tasks["close"]["dependentTasks"]) == {"open", *steps}
    assert tasks["close"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    inputs = made["root"]["inputDefinitions"]["parameters"]
    assert {name: one["parameterType"] for name, one in inputs.items()} == {
        "seed": "NUMBER_INTEGER",
        "labels": "LIST",
        "options": "STRING",
        "mode": "STRING",
        "rate": "NUMBER_DOUBLE",
        "where": "STRING",
        "pair": "LIST",
        "accept": "LIST",
    }
    assert inputs["labels"]["defaultValue"] == ["it's", 'a "b"']
    # Its steps have different ones, and keep them unless YAML is given.
    assert inputs["options"]["defaultValue"] == ""
    assert "a long secret" not in (pipeline.root / "p.yaml").read_text()


def test_what_a_step_may_use_goes_to_kubeflow(pipeline: Pipeline) -> None:
    text = pipeline.file.read_text()
    pipeline.file.write_text(text.replace("retries: 2", "retries: 2\n    cpus: 2\n    memory: 4G"))
    made = kubeflow_pipeline(read_pipeline(pipeline.file, pipeline.root), "team/taxi:1.2")
    (pipeline.root / "p.yaml").write_text(made)
    executors = read_located_yaml(pipeline.root / "p.yaml").value["deploymentSpec"]["executors"]
    assert executors["exec-step-02-b-1"]["container"]["resources"] == {
        "cpuLimit": 2.0,
        "resourceCpuLimit": "2",
        "memoryLimit": 4.0,
        "resourceMemoryLimit": "4G",
    }
    assert "resources" not in executors["exec-step-03-c"]["container"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prefect", "params/none.yaml"], "there is no file params/none.yaml; there are"),
        (["kubeflow", "params/none.yaml", *IMAGE], "there is no file params/none.yaml; there are"),
        (["kubeflow", "params/test.yaml"], "--image"),
        (["kubeflow", "params/test.yaml", "--image", ""], "--image must be an image's name"),
        (["kubeflow", "params/test.yaml", "--image", "two words"], "--image must be an image's"),
        (["kubeflow", "params/test.yaml", *IMAGE, "--env", "A"], "--env must be NAME=VALUE"),
        (
            ["kubeflow", "params/test.yaml", *IMAGE, "--env", "MLFLOW_URI=http://a:b1c2@host"],
            "--env MLFLOW_URI: must not have a password",
        ),
        (["prefect", "params/test.yaml", *IMAGE], "--image needs --work-pool"),
        (["prefect", "params/test.yaml", "--cron", "daily"], "--cron must be five fields"),
        (["prefect", "params/test.yaml", "--cron", "0 6 * *"], "--cron must be five fields"),
        (["prefect", "params/test.yaml", "--jobs", "0"], "--jobs"),
        (["prefect", "params/test.yaml", "--monthly"], "params/test.yaml has no months that move"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    pipeline: Pipeline, arguments: list[str], told: str
) -> None:
    code, _, error = command(*arguments, "-o", "made")
    assert code == 2
    assert told in error
    assert "b1c2" not in error
    assert not (pipeline.root / "made").exists()


@pytest.mark.parametrize("engine", [["prefect"], ["kubeflow", *IMAGE]])
def test_only_a_former_export_is_replaced(pipeline: Pipeline, engine: list[str]) -> None:
    made = pipeline.root / "made"
    made.write_text("somebody's")
    code, _, error = command(*engine, "params/test.yaml", "-o", "made")
    assert code == 2
    assert "made is there, and is no former export" in error
    assert made.read_text() == "somebody's"
    assert command(*engine, "params/test.yaml", "-o", "made", "--overwrite")[0] == 0
    assert command(*engine, "params/test.yaml", "-o", "made")[0] == 0
    assert "Written by `taxi-nb export" in made.read_text()


def test_a_flow_without_prefect_says_what_is_missing(pipeline: Pipeline) -> None:
    (pipeline.root / "flow.py").write_text(flow(pipeline))
    script = "import sys; sys.modules['prefect'] = None; import runpy; runpy.run_path('flow.py')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "prefect is missing: pip install 'prefect>=3.9'" in done.stderr
    assert "Traceback" not in done.stderr
