"""The links of a chain, and those of them that are read from one run of MLflow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.pipeline.record import StepResult
from taxi_nb.tracking import names
from taxi_nb.tracking.environment import lock_digest, lock_files
from taxi_nb.tracking.measuring import measures_the_machine
from taxi_nb.tracking.run_tree import artifact_bytes

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Node:
    """One link of the chain."""

    kind: str  # Such as ``model version``, ``run``, ``data``.
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)  # Everything known, by name.
    missing: tuple[str, ...] = ()  # Everything not known, and why.
    made_from: tuple[Node, ...] = ()  # The links that it was made by, or from.


def run_kind(run: Run) -> str:
    """Return the kind that a run's tag names, or ``MLflow``."""
    return str(run.data.tags.get(names.KIND_TAG, "MLflow"))


def is_hex(text: str) -> bool:
    """Whether a text can be a commit or the beginning of a run's id."""
    return re.fullmatch(r"[0-9a-f]{4,40}", text) is not None


def time_text(milliseconds: int | None) -> str:
    """Return a time as MLflow has it, in ISO 8601."""
    if milliseconds is None:
        return "not known"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def listed(values: Mapping[str, Any]) -> str:
    """Return ``a=1, b=2``."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def run_facts(run: Run, above: Sequence[Run]) -> dict[str, str]:
    """Return a run's state, developer and metrics, and the runs that it is nested in."""
    facts = {"status": run.info.status, "started": time_text(run.info.start_time)}
    if by := run.data.tags.get(names.DEVELOPER_TAG):
        facts["by"] = by
    if above:
        facts["within"] = ", ".join(f"{r.info.run_name} {r.info.run_id}" for r in above)
    metrics = [
        f"{name} {value:.6g}"
        for name, value in sorted(run.data.metrics.items())
        if not measures_the_machine(name)
    ]
    return facts | ({"metrics": ", ".join(metrics)} if metrics else {})


def reuse_facts(step: StepResult) -> dict[str, str]:
    """Return which run a step's results are from, if it was not executed."""
    if step.reused_from is None:
        return {}
    return {"reused": f"not executed: its results are those of {step.reused_from}"}


def step_facts(step: StepResult) -> dict[str, str]:
    """Return the facts of a step in a pipeline's record."""
    facts = {"notebook": step.notebook, "status": str(step.status), **reuse_facts(step)}
    if step.mlflow_run_id:
        facts["MLflow run"] = step.mlflow_run_id
    if step.parameters:
        facts["given"] = listed(step.parameters)
    return facts


def parameters_node(run: Run) -> Node:
    """Return a run's parameters; those that describe data are in the data's own nodes."""
    given = {
        name: value
        for name, value in sorted(run.data.params.items())
        if not re.fullmatch(r"(training|validation)_\w+", name)
    }
    return Node("parameters", f"{len(given)}", given, () if given else ("it logged none",))


def data_nodes(run: Run) -> Iterator[Node]:
    """Yield a run's data sets, with their digests."""
    for used in run.inputs.dataset_inputs if run.inputs else ():
        roles = [tag.value for tag in used.tags if tag.key == "mlflow.data.context"]
        facts = {"digest": used.dataset.digest}
        rows = json.loads(used.dataset.profile or "{}").get("num_rows")
        for role in roles:
            digest = run.data.params.get(f"{role}_digest")
            facts |= {"digest": digest} if digest else {}
            rows = _count(run, role) or rows
            if files := run.data.params.get(f"{role}_data"):
                facts["files"] = files
        facts["rows"] = f"{rows:,.0f}" if rows is not None else "not known"
        yield Node("data", f"{', '.join(roles) or 'used'}: {used.dataset.name}", facts)


def _count(run: Run, role: str) -> float | None:
    """Return the one whole number that was logged as ``<role>_<things>``, if there is one.

    It counts all records, where the data set in MLflow has only those that were drawn.
    """
    counts = [
        value
        for name, value in run.data.metrics.items()
        if name.startswith(f"{role}_") and value == int(value) and not measures_the_machine(name)
    ]
    return counts[0] if len(counts) == 1 else None


def commit_node(client: MlflowClient, run: Run) -> Node:
    """Return the commit that a run was made at, and whether more than that was there."""
    tags = run.data.tags
    commit = tags.get(names.COMMIT_TAG)
    if commit is None or not is_hex(commit):
        return Node("commit", commit or "not known", {}, ("the code cannot be checked out",))
    facts = {"branch": tags.get(names.BRANCH_TAG) or "not known"}
    if remote := tags.get(names.REMOTE_TAG):
        facts["remote"] = remote
    missing: tuple[str, ...] = ()
    dirty = tags.get(names.DIRTY_TAG, "unknown")
    if dirty not in ("true", "false"):
        missing = (f"whether there were uncommitted changes{dirty.removeprefix('unknown')}",)
    elif dirty == "false":
        facts["uncommitted changes"] = "none"
    elif (diff := artifact_bytes(client, run, names.DIFF_ARTIFACT)) is not None:
        lines = diff.count(b"\n")
        facts["uncommitted changes"] = f"{lines} lines: artifact {names.DIFF_ARTIFACT}"
    else:
        missing = ("there were uncommitted changes, and they were not kept",)
    return Node("commit", commit, facts, missing)


def environment_node(client: MlflowClient, run: Run, project: Path) -> Node:
    """Return a run's Python, packages and lock."""
    python, lock = run.data.tags.get(names.PYTHON_TAG), run.data.tags.get(names.LOCK_TAG)
    facts: dict[str, str] = {}
    missing = [] if python else ["the version of Python"]
    packages = f"{names.ENVIRONMENT_FOLDER}/{names.PACKAGES_FILE}"
    kept = artifact_bytes(client, run, packages)
    if kept:
        facts["packages"] = f"{len(kept.splitlines())}: artifact {packages}"
    if lock and lock != "none":
        is_present = lock_digest(project) == lock
        now = ", ".join(path.name for path in lock_files(project))
        facts["lock"] = f"{lock[:16]}, " + (f"as {now} now" if is_present else "another than now")
    else:
        missing.append("the lock's digest")
    return Node("environment", f"Python {python or 'not known'}", facts, tuple(missing))
