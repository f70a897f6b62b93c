"""MLflow's conventions: which store, how runs nest, what every run carries.

Both wings use this module and no other knows these conventions. A notebook
opens its run with `tracked_run`; in the pipeline that line joins the run that
the pipeline made for the step, in JupyterLab it opens one of its own.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from taxi_nb.credentials import hide_secrets, without_credentials
from taxi_nb.inputs import used_runs
from taxi_nb.project import project_root

if TYPE_CHECKING:
    import mlflow
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

DEFAULT_EXPERIMENT = "nyc-taxi-experiment"

# MLflow's own variables, which `mlflow.start_run()` obeys without our help.
URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
RUN_VARIABLE = "MLFLOW_RUN_ID"
# What the pipeline tells a step's kernel.
NOTEBOOK_VARIABLE = "TAXI_NB_NOTEBOOK"
UPSTREAM_VARIABLE = "TAXI_NB_UPSTREAM"

KIND_TAG = "taxi_nb.kind"
PARENT_TAG = "mlflow.parentRunId"
OWNER_TAG = "taxi_nb.owner"
SOURCE_TAG = "data.source"
SYNTHETIC_TAG = "data.synthetic"
# What a registration decided, in one sentence, and about which registered model.
DECISION_TAG = "promotion"
REGISTERED_PARAM = "registered_model"
CHAMPION = "champion"

Kind = Literal["pipeline", "step", "training", "trial", "registration", "exploration"]
Role = Literal["training", "validation"]
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

# The step's run once this process has joined it: MLflow forgets it after that.
_joined_run: str | None = None


def tracking_uri() -> str:
    """Return the store: ``MLFLOW_TRACKING_URI`` or the project's own SQLite file."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{project_root() / 'mlflow.db'}"


def experiment_name(given: str | None = None) -> str:
    """Return the name given, or ``MLFLOW_EXPERIMENT_NAME``, or `DEFAULT_EXPERIMENT`."""
    return given or os.environ.get(EXPERIMENT_VARIABLE) or DEFAULT_EXPERIMENT


def connect(experiment: str | None = None) -> str:
    """Point MLflow at the store and make sure that the experiment exists.

    Parameters
    ----------
    experiment : str, optional
        Its name; what `experiment_name` says otherwise.

    Returns
    -------
    str
        The experiment's id.
    """
    import mlflow

    # A progress bar for each file of a model would fill executed notebooks.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = tracking_uri()
    name = experiment_name(experiment)
    mlflow.set_tracking_uri(uri)
    with _first_use_lock(uri):
        found = mlflow.get_experiment_by_name(name)
        if found is None:
            mlflow.create_experiment(name, artifact_location=_artifact_location(uri))
    return str(mlflow.set_experiment(name).experiment_id)


@contextmanager
def _first_use_lock(uri: str) -> Iterator[None]:
    """Let one process at a time create an SQLite store's schema: two would collide."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    from filelock import FileLock

    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=60):
        yield


def _artifact_location(uri: str) -> str | None:
    """Return an absolute folder beside a local store; a server knows its own."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").resolve().as_uri()


@contextmanager
def tracked_run(
    name: str | None = None,
    *,
    kind: Kind = "exploration",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[mlflow.ActiveRun]:
    """Open the run that everything in the block is logged to.

    In a pipeline step the first such block joins the step's run; a later one
    in the same notebook, or one inside another, is a child of it. In
    JupyterLab or a script it is a run of its own.

    Parameters
    ----------
    name : str, optional
        Name of a run that is not a step's.
    kind : str
        What the run is; written to the tag ``taxi_nb.kind``.
    params, tags : mapping, optional
        Logged at once.

    Yields
    ------
    mlflow.ActiveRun
        FINISHED when the block ends, FAILED when it raises.
    """
    import mlflow

    global _joined_run
    nested = mlflow.active_run() is not None
    experiment = None if nested else connect()
    step_run = None if nested else os.environ.get(RUN_VARIABLE)
    parent = None if nested or step_run else _joined_run
    # Of what the pipeline opens, the pipeline is the owner.
    own = not (nested or step_run or parent)
    if own and experiment:
        _close_abandoned(mlflow.MlflowClient(), experiment)
    with mlflow.start_run(
        run_id=step_run,
        run_name=None if step_run else name,
        nested=nested,
        parent_run_id=parent,
    ) as run:
        if step_run:
            _joined_run = step_run
            # A second block must not join again, nor a subprocess of the kernel.
            os.environ.pop(RUN_VARIABLE, None)
        owner = {OWNER_TAG: _owner()} if own else {}
        mlflow.set_tags({**source_tags(), **owner, KIND_TAG: kind, **(tags or {})})
        mlflow.log_params(dict(params or {}))
        yield run


def source_tags() -> dict[str, str]:
    """Return who and what makes a run: developer, commit, dirty flag, notebook."""
    notebook = current_notebook()
    tags = {
        "developer": _developer(),
        **git_tags(),
        "python": platform.python_version(),
    }
    if notebook:
        tags |= {
            "notebook": notebook,
            "mlflow.source.name": notebook,
            "mlflow.source.type": "NOTEBOOK",
        }
    return tags


def current_notebook() -> str | None:
    """Return the running notebook's path, relative to the project where it can be."""
    told = os.environ.get(NOTEBOOK_VARIABLE)
    if told:
        return told
    # Jupyter Server names the notebook that a kernel belongs to.
    session = os.environ.get("JPY_SESSION_NAME", "")
    if not session.endswith(".ipynb"):
        return None
    path = Path(session)
    root = project_root()
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def git_tags() -> dict[str, str]:
    """Return commit, branch and dirty flag; outside git, a tag that says so."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"git.commit": "none (not a git checkout)"}
    return {
        "git.commit": commit,
        "git.branch": _git("rev-parse", "--abbrev-ref", "HEAD") or "",
        "git.dirty": str(bool(_git("status", "--porcelain"))).lower(),
        "mlflow.source.git.commit": commit,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project_root()), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def _developer() -> str:
    return _git("config", "user.name") or getpass.getuser()


def log_trips(trips: pd.DataFrame, role: Role) -> None:
    """Log to the active run which trips it uses: data set, digest, paths, cleaning.

    Parameters
    ----------
    trips : DataFrame
        As `load_trips` returned them.
    role : {"training", "validation"}
        What they are used for; the prefix of the parameters and the context
        of the MLflow data set.
    """
    import mlflow

    from taxi_nb.trips import provenance

    origin = provenance(trips)
    paths = [file.path for file in origin.files]
    mlflow.log_params(
        {
            f"{role}_months": ",".join(origin.months),
            f"{role}_data": ",".join(paths),
            f"{role}_digest": origin.digest,
        }
    )
    # A frame drawn from larger months stands for all their trips.
    all_trips = origin.cleaning.rows_kept if origin.drawn == len(trips) else len(trips)
    mlflow.log_metric(f"{role}_trips", all_trips)
    label = f"{origin.source} (synthetic)" if origin.synthetic else origin.source
    mlflow.set_tags({SOURCE_TAG: label, SYNTHETIC_TAG: str(origin.synthetic).lower()})
    mlflow.log_dict(origin.to_dict(), f"data/{role}.json")
    mlflow.log_text(str(origin.cleaning), f"data/{role}_cleaning.txt")
    mlflow.log_input(_dataset(trips, paths[0], origin.title, origin.digest), context=role)


def _dataset(trips: pd.DataFrame, path: str, name: str, digest: str) -> Any:
    """Describe trips to MLflow, without its remarks on nullable integers."""
    import warnings

    import mlflow.data
    from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]

    # Named, since MLflow finds two kinds of source that a local path could be.
    source: FileSystemDatasetSource | str = (
        path if "://" in path else LocalArtifactDatasetSource(path)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*integer column.*", category=UserWarning)
        describe = partial(
            mlflow.data.from_pandas,  # type: ignore[attr-defined]
            source=source,
            name=name,
            digest=digest,
        )
        dataset = describe(trips)
        # Of all rows MLflow would look at each date; the types are those of the first ones.
        dataset.schema = describe(trips.head(100)).schema
        dataset.to_dict()
    return dataset


def log_figure(figure: Figure, name: str) -> None:
    """Log a figure to the active run as ``figures/<name>.png``."""
    import mlflow

    mlflow.log_figure(figure, f"figures/{name}.png", save_kwargs={"dpi": 110})


def log_tables(**tables: pd.DataFrame) -> None:
    """Log tables to the active run as ``tables/<name>.csv``."""
    import mlflow

    for name, table in tables.items():
        mlflow.log_text(table.to_csv(), f"tables/{name}.csv")


def upstream_runs() -> dict[str, str] | None:
    """Return the runs that this step may build on, step name -> run id.

    ``None`` outside a pipeline.
    """
    found = _upstream_runs()
    if found is not None:
        used_runs(None, found)
    return found


def _upstream_runs() -> dict[str, str] | None:
    told = os.environ.get(UPSTREAM_VARIABLE)
    return None if told is None else json.loads(told)


def training_runs(training_digest: str, validation_digest: str) -> list[Run]:
    """Find the models that can be compared: trained and validated on these data.

    In a pipeline those of the steps before this one; in JupyterLab the
    newest run of each name in the experiment.

    Parameters
    ----------
    training_digest, validation_digest : str
        ``provenance(trips).digest`` of the two sets.

    Returns
    -------
    list of mlflow.entities.Run
        Best validation RMSE first.

    Raises
    ------
    LookupError
        If there is none; it says what to run first.
    """
    import mlflow

    experiment = connect()
    wanted = (
        f"tags.`{KIND_TAG}` = 'training' and attributes.status = 'FINISHED' "
        f"and params.training_digest = '{training_digest}' "
        f"and params.validation_digest = '{validation_digest}'"
    )
    found: Sequence[Run] = mlflow.search_runs(
        [experiment], wanted, order_by=["attributes.start_time DESC"], output_format="list"
    )
    upstream = _upstream_runs()
    if upstream is not None:
        chosen = [run for run in found if run.info.run_id in upstream.values()]
        ids = {run.info.run_id for run in chosen}
        used_runs("training", {step: run_id for step, run_id in upstream.items() if run_id in ids})
    else:
        newest: dict[str, Run] = {}
        for run in found:
            newest.setdefault(str(run.info.run_name), run)
        chosen = list(newest.values())
    if not chosen:
        raise LookupError(
            "no model has been trained on these data yet: run the training notebook with the "
            "same source, months and cleaning first"
        )
    return sorted(chosen, key=lambda run: float(run.data.metrics["valid_rmse"]))


def step_environment(
    *, uri: str, experiment: str, run_id: str, notebook: str, upstream: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables by which the pipeline hands a step its run."""
    return {
        URI_VARIABLE: uri,
        EXPERIMENT_VARIABLE: experiment,
        RUN_VARIABLE: run_id,
        NOTEBOOK_VARIABLE: notebook,
        UPSTREAM_VARIABLE: json.dumps(upstream),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


class TrackingError(RuntimeError):
    """A store that cannot be used; the message names it, without credentials."""


@contextmanager
def store_problems_told() -> Iterator[None]:
    """Turn what MLflow and its database raise into one `TrackingError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        uri = tracking_uri()
        reason = hide_secrets(str(error).strip().splitlines()[0], uri)
        raise TrackingError(
            f"the MLflow store {without_credentials(uri)} cannot be used: {reason}. "
            f"It comes from {URI_VARIABLE}, the pipeline file's `tracking_uri`, or else is "
            "mlflow.db in the project"
        ) from error


@dataclass(frozen=True)
class TrainedModel:
    """A training run below a pipeline's, and what the registry says of its model."""

    name: str
    step: str
    run_id: str
    metrics: Mapping[str, float]
    version: str | None
    champion: bool


@dataclass(frozen=True)
class ModelOutcomes:
    """What a pipeline's steps trained and decided.

    Attributes
    ----------
    decision : str or None
        The sentence that the registration left.
    champion : str or None
        The registered model and version that the alias ``champion`` names.
    """

    models: tuple[TrainedModel, ...] = ()
    decision: str | None = None
    champion: str | None = None


def authorship() -> dict[str, Any]:
    """Return who runs something from which state of the project."""
    tags = git_tags()
    dirty = tags.get("git.dirty")
    return {
        "developer": _developer(),
        "commit": tags.get("mlflow.source.git.commit"),
        "branch": tags.get("git.branch"),
        "dirty": None if dirty is None else dirty == "true",
    }


class PipelineTracking:
    """The pipeline's side: it owns the runs of the pipeline and of its steps.

    Safe to use from several threads.

    Parameters
    ----------
    experiment : str or None
        Name of the experiment; the default's where None.
    """

    def __init__(self, experiment: str | None) -> None:
        self.experiment = experiment_name(experiment)
        from mlflow import MlflowClient

        self.uri = tracking_uri()
        with store_problems_told():
            self.experiment_id = connect(self.experiment)
            self._client = MlflowClient(self.uri)

    def open_run(
        self, name: str, kind: Kind, tags: Mapping[str, str], parent: str | None = None
    ) -> str:
        """Create a run and return its id."""
        nesting = {PARENT_TAG: parent} if parent else {}
        all_tags = {
            "developer": _developer(),
            **git_tags(),
            **tags,
            **nesting,
            KIND_TAG: kind,
            OWNER_TAG: _owner(),
            "mlflow.user": _developer(),
        }
        run = self._client.create_run(self.experiment_id, run_name=name, tags=all_tags)
        return str(run.info.run_id)

    def close_run(self, run_id: str, status: RunStatus) -> None:
        """End a run, whatever the kernel made of it, and trials that it left open."""
        _close(self._client, self.experiment_id, run_id, status)

    def close_abandoned(self) -> list[str]:
        """End the runs on this machine whose process was killed; return their names."""
        return _close_abandoned(self._client, self.experiment_id)

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Copy files to a run's artifacts."""
        for file in files:
            self._client.log_artifact(run_id, str(file), folder)

    def log_dict(self, run_id: str, content: Any, name: str) -> None:
        """Write a JSON or YAML artifact."""
        self._client.log_dict(run_id, content, name)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log numbers to a run."""
        for name, value in metrics.items():
            self._client.log_metric(run_id, name, value)

    def outcome(self, run_id: str) -> tuple[dict[str, float], str | None]:
        """Return what a step logged: its metrics and the label of its data."""
        data = self._client.get_run(run_id).data
        return dict(data.metrics), data.tags.get(SOURCE_TAG)

    def kind(self, run_id: str) -> str | None:
        """Return what a step's run has become: ``step`` until its notebook says more."""
        return self._client.get_run(run_id).data.tags.get(KIND_TAG)

    def model_outcomes(self, steps: Mapping[str, str]) -> ModelOutcomes:
        """Find what steps trained and decided.

        Parameters
        ----------
        steps : mapping
            Step name -> id of its run.
        """
        with_step = [(step, run) for step, id_ in steps.items() for run in self._family(id_)]
        trained = [(s, run) for s, run in with_step if run.data.tags.get(KIND_TAG) == "training"]
        versions = self._versions([run.info.run_id for _, run in trained])
        decided = [run.data for _, run in with_step if DECISION_TAG in run.data.tags]
        last = decided[-1] if decided else None
        names = {version.name for version in versions.values()}
        champions = {found for name in names if (found := self._champion_of(name))}
        return ModelOutcomes(
            tuple(
                _trained(step, run, versions.get(run.info.run_id), champions)
                for step, run in trained
            ),
            last.tags[DECISION_TAG] if last else None,
            self._champion_of(last.params.get(REGISTERED_PARAM)) if last else None,
        )

    def _family(self, run_id: str) -> list[Run]:
        """Return a step's run and those of its children that are no trials."""
        condition = f"tags.`{PARENT_TAG}` = '{run_id}' and tags.`{KIND_TAG}` != 'trial'"
        children = self._client.search_runs([self.experiment_id], condition)
        return [self._client.get_run(run_id), *children]

    def _versions(self, run_ids: Sequence[str]) -> dict[str, ModelVersion]:
        if not run_ids:
            return {}
        listed = ",".join(f"'{run_id}'" for run_id in run_ids)
        found = self._client.search_model_versions(f"run_id IN ({listed})")
        return {str(version.run_id): version for version in found}

    def _champion_of(self, name: str | None) -> str | None:
        from mlflow.exceptions import MlflowException

        if name is None:
            return None
        try:
            return _title(self._client.get_model_version_by_alias(name, CHAMPION))
        except MlflowException:  # Nobody is champion yet.
            return None


def _title(version: ModelVersion) -> str:
    return f"{version.name}, version {version.version}"


def _trained(
    step: str, run: Run, version: ModelVersion | None, champions: Collection[str]
) -> TrainedModel:
    title = _title(version) if version else None
    return TrainedModel(
        name=str(run.data.tags.get("model") or run.info.run_name),
        step=step,
        run_id=run.info.run_id,
        metrics=dict(run.data.metrics),
        version=title,
        champion=title in champions,
    )


def _close_abandoned(client: MlflowClient, experiment: str) -> list[str]:
    """End what pipelines and kernels left open that live no more; return the runs' names."""
    closed = []
    for run in _open_runs(client, experiment, f"tags.`{OWNER_TAG}` LIKE '{platform.node()}:%'"):
        if not _is_alive(run.data.tags[OWNER_TAG]):
            _close(client, experiment, run.info.run_id, "KILLED")
            closed.append(str(run.info.run_name))
    return closed


def _close(client: MlflowClient, experiment: str, run_id: str, status: RunStatus) -> None:
    for child in _open_runs(client, experiment, f"tags.`{PARENT_TAG}` = '{run_id}'"):
        client.set_terminated(child.info.run_id, "KILLED")
    client.set_terminated(run_id, status)


def _open_runs(client: MlflowClient, experiment: str, condition: str) -> list[Run]:
    return list(client.search_runs([experiment], f"attributes.status = 'RUNNING' and {condition}"))


@dataclass(frozen=True)
class Champion:
    """The model that people should use, and how it was judged.

    Attributes
    ----------
    comparable : bool
        Whether it was judged on the same validation data as the run asked for.
    """

    version: str
    run_id: str
    metrics: Mapping[str, float]
    comparable: bool


def champion_run(name: str, run_id: str) -> Champion | None:
    """Return the champion of a registered model, seen from a training run; None without one."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    connect()
    client = MlflowClient()
    try:
        version = client.get_model_version_by_alias(name, CHAMPION)
        champion = client.get_run(str(version.run_id))
    except MlflowException:  # No such model, no alias, or its run was deleted.
        return None
    judged_on = client.get_run(run_id).data.params.get("validation_digest")
    return Champion(
        version=_title(version),
        run_id=champion.info.run_id,
        metrics=dict(champion.data.metrics),
        comparable=champion.data.params.get("validation_digest") == judged_on,
    )


def run_address(run_id: str) -> str:
    """Return where MLflow's pages show a run; a local store's are served by ``make ui``."""
    uri = tracking_uri()
    host = uri.rstrip("/") if uri.startswith(("http://", "https://")) else "http://127.0.0.1:5000"
    return f"{without_credentials(host)}/#/experiments/{connect()}/runs/{run_id}"


def _owner() -> str:
    """Name this process so that a later one can tell whether it still lives."""
    import psutil

    return f"{platform.node()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def _is_alive(owner: str) -> bool:
    import psutil

    _, pid, created = owner.rsplit(":", 2)
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(created)) < 1
    except psutil.Error:
        return False
