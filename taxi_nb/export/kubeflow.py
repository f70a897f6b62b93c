"""A pipeline in KFP's own form, its IR: what Kubeflow's compiler writes, and what servers run.

It is written without kfp, whose pins (protobuf below 7, one version of requests) would hold back
the project's own libraries; tests let kfp read it, compile it and run it.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from taxi_nb.export import _component
from taxi_nb.export.outline import (
    ACCEPT,
    MARK,
    ExportError,
    Outline,
    Setting,
    identifier,
    names_of,
    outline,
)
from taxi_nb.located_yaml import written_yaml
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.secrets.literals import secret_mistake

_KINDS = {
    "str": "STRING",
    "int": "NUMBER_INTEGER",
    "float": "NUMBER_DOUBLE",
    "bool": "BOOLEAN",
    "list": "LIST",
    "dict": "STRUCT",
}
_FROM_OPEN = {"taskOutputParameter": {"producerTask": "open", "outputParameterKey": "run"}}
_RUN = {"parameters": {"run": {"parameterType": "STRING"}}}
# KFP's placeholders: a task's whole input as JSON, and the id of the pipeline's run.
_INPUT, _JOB = "{{$}}", "{{$.pipeline_job_uuid}}"


def kubeflow_pipeline(
    pipeline: Pipeline, image: str, variables: Mapping[str, str] | None = None
) -> str:
    """Return a pipeline as YAML; each task is a container of `image` that calls `taxi-nb`.

    `variables` are set in each container. Raises ExportError for an image that is none, and for a
    variable that is a secret: the file is no place for it.
    """
    if not re.fullmatch(r"[a-z0-9][^\s\"'\\]*", image):
        raise ExportError(f"--image must be an image's name such as team/taxi:1.2, got: {image!r}")
    for name, value in (variables or {}).items():
        if mistake := secret_mistake(name, value):
            raise ExportError(f"--env {name}: {mistake}")
    made = outline(pipeline)
    head = f"# {MARK} kubeflow {made.params}`: rather than edit this, export again.\n"
    specification = _specification(made, image, variables or {})
    # A copy, in which nothing stands twice: YAML would name it the second time.
    return head + written_yaml(json.loads(json.dumps(specification)))


def _specification(made: Outline, image: str, variables: Mapping[str, str]) -> dict[str, Any]:
    names = names_of(made.steps, "-")
    kinds = {one.name: _kind(one) for one in made.settings}
    settings = {
        one.name: {"kind": kinds[one.name], "default": one.default} for one in made.settings
    }
    inputs = {"parameters": {one.name: _parameter(one, kinds[one.name]) for one in made.settings}}
    inputs["parameters"][ACCEPT] = {"parameterType": "LIST", "isOptional": True, "defaultValue": []}
    opening = [made.params, made.digest, json.dumps(settings, ensure_ascii=False), _JOB]
    last = _task("close", "close", after=["open", *names.values()])
    last["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    tasks = {"open": _task("open", "open", settings=list(inputs["parameters"]))}
    components = {
        "comp-open": {
            "executorLabel": "exec-open",
            "inputDefinitions": inputs,
            "outputDefinitions": _RUN,
        }
    }
    executors = {"exec-open": _container(image, variables, "open", *opening)}
    for step in made.steps:
        name = names[step.name]
        needs = ["open", *(names[need] for need in step.needs)]
        tasks[name] = _task(name, step.name, after=needs, retries=step.retries)
        components[f"comp-{name}"] = {"executorLabel": f"exec-{name}", "inputDefinitions": _RUN}
        made_of = _container(image, variables, "step", made.params, step.name)
        if resources := _resources(step):
            made_of["container"]["resources"] = resources
        executors[f"exec-{name}"] = made_of
    # It is called where no run was opened, too, and has to have a value then.
    optional = {"run": {"parameterType": "STRING", "isOptional": True, "defaultValue": ""}}
    components["comp-close"] = {
        "executorLabel": "exec-close",
        "inputDefinitions": {"parameters": optional},
    }
    root: dict[str, Any] = {
        "dag": {"tasks": tasks | {"close": last}},
        "inputDefinitions": inputs,
    }
    return {
        "pipelineInfo": {
            "name": identifier(made.name, "-").lower() or "pipeline",
            "description": f"The notebooks of {made.params}; what is up to date is used again.",
        },
        "root": root,
        "components": components,
        "deploymentSpec": {
            "executors": executors | {"exec-close": _container(image, variables, "close")}
        },
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.3",
    }


def _task(
    name: str,
    shown: str,
    after: list[str] | None = None,
    settings: Sequence[str] = (),
    retries: int = 0,
) -> dict[str, Any]:
    """Return a task; KFP caches nothing, since a step itself knows whether it is up to date."""
    task: dict[str, Any] = {
        "taskInfo": {"name": shown},
        "componentRef": {"name": f"comp-{name}"},
        "cachingOptions": {},
    }
    if after:
        task |= {"dependentTasks": after, "inputs": {"parameters": {"run": _FROM_OPEN}}}
    if settings:
        handed = {one: {"componentInputParameter": one} for one in settings}
        task["inputs"] = {"parameters": handed}
    if retries:
        waits = {"backoffDuration": "1s", "backoffFactor": 2.0, "backoffMaxDuration": "60s"}
        task["retryPolicy"] = {"maxRetryCount": retries, **waits}
    return task


def _container(image: str, variables: Mapping[str, str], task: str, *arguments: str) -> Any:
    source = inspect.getsource(_component)
    container: dict[str, Any] = {
        "image": image,
        "command": ["python3", "-c", source],
        "args": [task, _INPUT, *arguments],
    }
    if variables:
        container["env"] = [{"name": name, "value": one} for name, one in variables.items()]
    return {"container": container}


def _resources(step: Step) -> dict[str, Any]:
    """Return what a step asks for; Kubernetes reserves as much as it allows."""
    asked: dict[str, Any] = {}
    if step.cpus:
        asked |= {"cpuLimit": step.cpus, "resourceCpuLimit": f"{step.cpus:g}"}
    if step.memory:
        asked |= {"memoryLimit": step.memory / 1e9, "resourceMemoryLimit": _quantity(step.memory)}
    return asked


def _quantity(size: float) -> str:
    """Return bytes as Kubernetes writes them.

    >>> _quantity(4e9), _quantity(512 * 2**20), _quantity(1.5e9)
    ('4G', '512Mi', '1500M')
    """
    units = {"G": 1e9, "Gi": 2**30, "M": 1e6, "Mi": 2**20, "": 1}
    return next(f"{size / one:.0f}{unit}" for unit, one in units.items() if not int(size) % one)


def _parameter(setting: Setting, kind: str) -> dict[str, Any]:
    """Return a pipeline's parameter; KFP runs none here that has no default."""
    if kind == "YAML":
        return {"parameterType": "STRING", "isOptional": True, "defaultValue": ""}
    return {"parameterType": kind, "isOptional": True, "defaultValue": setting.default}


def _kind(setting: Setting) -> str:
    """Return KFP's type; ``YAML``, a text, where each step has its own unless one is given."""
    if setting.default is None:
        return "YAML"
    words = re.findall(r"[A-Za-z_]+", setting.type.replace("None", ""))
    # A whole number may stand where the notebook says `float`.
    return _KINDS["float" if words[:1] == ["float"] else type(setting.default).__name__]
