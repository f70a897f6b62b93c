"""MLflow's own `start_run` and `end_run` in a pipeline's step: notebooks need nothing of ours.

The first `mlflow.start_run()` of a step joins the step's run, whatever store and experiment the
notebook has set by then. Later ones are children of that run, with source, commit and notebook.
The step's run is ended by the pipeline alone: until then the step is not done.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from taxi_nb.tracking import names
from taxi_nb.tracking.context import Context, open_context
from taxi_nb.tracking.store import connect, experiment_name, tracking_uri

# What a step's kernel executes before its first cell. It imports nothing: what a step's modules
# are is recorded, and this one becomes one of them with the first run.
HOOK = """
import functools, importlib.util, sys

def replace(mlflow):
    fluent = sys.modules["mlflow.tracking.fluent"]
    for name in ("start_run", "end_run"):
        own = getattr(fluent, name)
        for module in (mlflow, fluent):
            setattr(module, name, in_step(name, own))

def in_step(name, own):
    @functools.wraps(own)
    def called(*given, **named):
        if name == "end_run" and sys.modules["mlflow.tracking.fluent"].active_run() is None:
            return own(*given, **named)  # As MLflow does at every process's end.
        from taxi_nb.tracking import plain_mlflow
        return getattr(plain_mlflow, name)(own, *given, **named)
    return called

class OnceImported:
    def find_spec(self, name, path=None, target=None):
        if name != "mlflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module
            def exec_module(module):
                execute(module)
                replace(module)
            spec.loader.exec_module = exec_module
        return spec

if "mlflow" in sys.modules:
    replace(sys.modules["mlflow"])
else:
    sys.meta_path.insert(0, OnceImported())
"""


@dataclass(frozen=True)
class StepRun:
    """The run of the step that this process executes, and where it is."""

    run_id: str
    uri: str
    experiment: str

    @classmethod
    def here(cls) -> StepRun | None:
        """Return it, or None where no step is executed."""
        known = os.environ.get(names.STEP_RUN_VARIABLE)
        return cls(**json.loads(known)) if known else None

    @classmethod
    def join(cls, run_id: str) -> None:
        """Note that this process, or one that started it, logs to a run that was handed to it."""
        if cls.here() is None:
            os.environ.update(cls(run_id, tracking_uri(), experiment_name()).as_variable())
        # A second block must not join again, nor a subprocess of the kernel.
        os.environ.pop(names.RUN_VARIABLE, None)

    def as_variable(self) -> dict[str, str]:
        """Return the variable that hands it over."""
        return {names.STEP_RUN_VARIABLE: json.dumps(asdict(self))}

    def connect(self) -> str:
        """Point MLflow at the step's store and experiment again, and return that one's id."""
        import mlflow

        was_set = os.environ.pop(names.EXPERIMENT_ID_VARIABLE, None)
        uri = mlflow.get_tracking_uri()
        os.environ[names.URI_VARIABLE] = self.uri
        os.environ[names.EXPERIMENT_VARIABLE] = self.experiment
        found = connect()
        if uri != self.uri or was_set not in (None, found):
            _say(f"the runs of a step go to its pipeline's store, experiment {self.experiment!r}")
        return found


@cache
def _say(what: str) -> None:
    print(f"taxi-nb: {what}", file=sys.stderr)


@cache
def _context() -> Context:
    return Context()


def start_run(own: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Do what ``mlflow.start_run``, which is `own`, is asked to do, as a run of the step."""
    import mlflow

    asked = inspect.signature(own).bind(*given, **named).arguments
    step = StepRun.here()
    if step is None or asked.get("run_id"):
        return own(**asked)
    if mlflow.active_run() is None:
        step.connect()
        if os.environ.get(names.RUN_VARIABLE):
            StepRun.join(step.run_id)
            kept = {name: asked[name] for name in ("tags", "description") if name in asked}
            return own(run_id=step.run_id, **kept)
        asked.setdefault("parent_run_id", step.run_id)
    asked.pop("experiment_id", None)
    context = open_context() or _context()
    tags = {**context.tags, names.KIND_TAG: "exploration", **(asked.get("tags") or {})}
    return own(**{**asked, "tags": tags})


def end_run(own: Callable[..., Any], *given: Any, **named: Any) -> None:
    """Do what ``mlflow.end_run`` is asked to do, but for the step's run: it goes on."""
    import mlflow

    active, step = mlflow.active_run(), StepRun.here()
    if active and step and active.info.run_id == step.run_id:
        own("RUNNING")
    else:
        own(*given, **named)
