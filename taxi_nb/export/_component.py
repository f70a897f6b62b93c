"""One task of a Kubeflow pipeline: its source stands in the exported file and runs in the image.

KFP hands it the task's input as JSON, as it does to kfp.dsl.executor_main, whose place this takes:
so the image needs no kfp, only a Python and `taxi-nb`. That KFP's SubprocessRunner reads the name
above is what lets it run a pipeline of ours without containers.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = os.environ.get("TAXI_NB_COMMAND") or "taxi-nb"


def opened(given: dict[str, Any], params: str, digest: str, settings: str, job: str) -> str:
    """Return the id of a new run, whose MLflow run names the job; the pipeline file is checked."""
    file = Path(os.environ.get("TAXI_NB_ROOT") or ".", params)
    if hashlib.sha256(file.read_text("utf-8").encode()).hexdigest() != digest:
        raise SystemExit(f"{file} is not what was exported: export it again, or use its image")
    command = [COMMAND, "open", params, f"--tag=kubeflow.run={job}"]
    for name, setting in json.loads(settings).items():
        value = of_kind(given.get(name), setting["kind"])
        # What is left as it is in the file is not handed over; of YAML that is the empty text.
        is_yaml = setting["kind"] == "YAML"
        if value is not None and value != ("" if is_yaml else setting["default"]):
            text = value if is_yaml else json.dumps(value, ensure_ascii=False)
            command.append(f"--set={name}={text}")
    command += [f"--accept={one}" for one in given.get("accept") or []]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout.split()[-1]


def of_kind(value: Any, kind: str | None) -> Any:
    """Return a value as it was typed: in JSON's transport all numbers are floating ones."""
    if kind == "NUMBER_DOUBLE":
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [of_kind(one, None) for one in value]
    if isinstance(value, dict):
        return {name: of_kind(one, None) for name, one in value.items()}
    return value


def main(task: str, handed_over: str, *arguments: str) -> None:
    """Do what a task is for, and end as `taxi-nb` does."""
    handed = json.loads(handed_over)
    given = handed.get("inputs", {}).get("parameterValues", {})
    if task == "open":
        output = Path(handed["outputs"]["parameters"]["run"]["outputFile"])
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(opened(given, *arguments))
    elif task == "step":
        command = [COMMAND, "step", *arguments, f"--run={given['run']}", "--retries=0"]
        raise SystemExit(subprocess.run(command).returncode)
    elif not given.get("run"):
        raise SystemExit("no run was opened, so that there is none to close")
    else:
        raise SystemExit(subprocess.run([COMMAND, "close", given["run"]]).returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
