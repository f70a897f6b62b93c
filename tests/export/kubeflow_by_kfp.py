# mypy: ignore-errors
"""What KFP makes of an exported pipeline; a program for the engines' environment.

    python kubeflow_by_kfp.py FILE ARGUMENTS

compares the file, if it is of the pipeline `test`, with what KFP's compiler writes of the same
pipeline in KFP's language, lets the compiler read and write it, and runs it here with the
arguments, which are JSON.
"""

import json
import sys
import warnings
from pathlib import Path

import yaml
from google.protobuf import json_format
from kfp import compiler, components, dsl, local
from kfp.pipeline_spec import pipeline_spec_pb2

warnings.simplefilter("ignore")
EXPORTED, ARGUMENTS = Path(sys.argv[1]), json.loads(sys.argv[2])
WORK = EXPORTED.parent / "kfp"
WORK.mkdir()
NONE = []
STRUCT = {"rate": 0.5, "n": 3}
WRITTEN = yaml.safe_load(EXPORTED.read_text())


def container(name):
    executors = WRITTEN["deploymentSpec"]["executors"]
    # Another pipeline than `test` has other steps, and no twin.
    written = executors.get(f"exec-{name}", executors["exec-open"])["container"]
    return dsl.ContainerSpec(
        image="team/taxi:1.2", command=written["command"], args=written["args"]
    )


@dsl.container_component
def open(
    run: dsl.OutputPath(str),
    seed: int = 7,
    broken: int = 0,
    options: dict = STRUCT,
    extra: str = "",
    accept: list = NONE,
):
    return container("open")


@dsl.container_component
def step_01_a(run: str):
    return container("step-01-a")


@dsl.container_component
def step_02_b_1(run: str):
    return container("step-02-b-1")


@dsl.container_component
def step_02_b_2(run: str):
    return container("step-02-b-2")


@dsl.container_component
def step_03_c(run: str):
    return container("step-03-c")


@dsl.container_component
def close(run: str = ""):
    return container("close")


@dsl.pipeline(name="test", description=WRITTEN["pipelineInfo"]["description"])
def twin(
    seed: int = 7, broken: int = 0, options: dict = STRUCT, extra: str = "", accept: list = NONE
):
    def task(made, shown, *needs):
        return made.set_caching_options(False).set_display_name(shown).after(*needs)

    given = {"seed": seed, "broken": broken, "options": options, "extra": extra, "accept": accept}
    opened = task(open(**given), "open")
    run = opened.outputs["run"]
    a = task(step_01_a(run=run), "01_a")
    b1, b2 = task(step_02_b_1(run=run), "02_b[1]"), task(step_02_b_2(run=run), "02_b[2]")
    for tried in (b1, b2):
        tried.set_cpu_limit("2").set_memory_limit("1500M")
        tried.set_retry(1, backoff_duration="1s", backoff_factor=2.0, backoff_max_duration="60s")
    c = task(step_03_c(run=run), "03_c", b1, b2)
    task(close(run=run), "close", a, b1, b2, c).ignore_upstream_failure()


def specification(file):
    values = yaml.safe_load(file.read_text())
    found = json_format.ParseDict(values, pipeline_spec_pb2.PipelineSpec())
    made = json_format.MessageToDict(found)
    # A component says nothing of defaults that its pipeline always hands over.
    for one in made["components"]["comp-open"]["inputDefinitions"]["parameters"].values():
        one.pop("defaultValue", None)
    return made


if WRITTEN["pipelineInfo"]["name"] == "test":
    compiler.Compiler().compile(twin, str(WORK / "twin.yaml"))
    assert specification(EXPORTED) == specification(WORK / "twin.yaml")
loaded = components.load_component_from_file(str(EXPORTED))
compiler.Compiler().compile(loaded, str(WORK / "again.yaml"))
assert specification(EXPORTED) == specification(WORK / "again.yaml")

local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(WORK))
loaded(**ARGUMENTS)
