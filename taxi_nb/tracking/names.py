"""Names that readers of runs rely on: variables, tags, parameters, artifacts, metrics."""

from __future__ import annotations

from typing import Literal

# MLflow's own variables, which `mlflow.start_run()` obeys without our help.
URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
EXPERIMENT_ID_VARIABLE = "MLFLOW_EXPERIMENT_ID"
RUN_VARIABLE = "MLFLOW_RUN_ID"
# Tags, as JSON, of all that MLflow makes in a process, models among them.
CONTEXT_VARIABLE = "MLFLOW_RUN_CONTEXT"
# `mlflow server` calls it so, too: clients of a database have no server to say it for them.
ARTIFACT_ROOT_VARIABLE = "MLFLOW_DEFAULT_ARTIFACT_ROOT"
# What the pipeline tells a step's kernel.
NOTEBOOK_VARIABLE = "TAXI_NB_NOTEBOOK"
UPSTREAM_VARIABLE = "TAXI_NB_UPSTREAM"
STEP_RUN_VARIABLE = "TAXI_NB_STEP_RUN"
# The checks of data that count in this process, as JSON.
CHECKS_VARIABLE = "TAXI_NB_CHECKS"
# Whether a decision may change which model is to be used: "no", or anything may.
PROMOTE_VARIABLE = "TAXI_NB_PROMOTE"
# The file in which a step says how far it has come.
PROGRESS_VARIABLE = "TAXI_NB_PROGRESS"
# Where the Jupyter server that started this kernel shows the pages in runs/, as a path.
PAGES_VARIABLE = "TAXI_NB_PAGES"
# Beginnings of the variables that say where a run is: they belong to it, not to its results.
RUN_VARIABLES = (
    *("MLFLOW_", "TAXI_NB_ROOT"),
    *(NOTEBOOK_VARIABLE, UPSTREAM_VARIABLE, STEP_RUN_VARIABLE, CHECKS_VARIABLE),
    *(PROMOTE_VARIABLE, PROGRESS_VARIABLE, PAGES_VARIABLE),
)

KIND_TAG = "taxi_nb.kind"
# On a pipeline's run and its steps' runs: the id of the folder runs/<id>.
PIPELINE_RUN_TAG = "taxi_nb.pipeline_run"
STEP_TAG = "taxi_nb.step"
PARENT_TAG = "mlflow.parentRunId"
# What MLflow's pages show of a run, and which pages of an experiment they open.
NOTE_TAG = "mlflow.note.content"
SOURCE_TAGS = SOURCE_NAME_TAG, SOURCE_TYPE_TAG = "mlflow.source.name", "mlflow.source.type"
EXPERIMENT_KIND_TAG = "mlflow.experimentKind"
MACHINE_LEARNING = "custom_model_development"
# A view of an experiment's runs that its pages show by this key: its columns, as JSON.
VIEW = "pipelines"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
OWNER_TAG = "taxi_nb.owner"
# Until when the owner is believed to live, where nobody can ask: seconds since 1970.
LEASE_TAG = "taxi_nb.alive_until"
SOURCE_TAG = "data.source"
SYNTHETIC_TAG = "data.synthetic"
# The units of metrics, as JSON, by how their names end: ``{"rmse": "seconds"}``.
UNITS_TAG = "taxi_nb.units"

DEVELOPER_TAG = "developer"
COMMIT_TAG = "git.commit"
BRANCH_TAG = "git.branch"
DIRTY_TAG = "git.dirty"
REMOTE_TAG = "git.remote"
NOTEBOOK_TAG = "notebook"
PYTHON_TAG = "python"
# The digest of the lock files, or "none".
LOCK_TAG = "lock.sha256"
# Whether what a person had run was the notebook from its top down: "yes", or "no: " and why.
TOP_TO_BOTTOM_TAG = "taxi_nb.top_to_bottom"
# Of what peak_memory_mb is the peak.
PEAK_TAG = "taxi_nb.peak_memory"

# What a registration decided, in one sentence, and about which registered model.
DECISION_TAG = "promotion"
# Whether that made another model the one to use: "true" or "false".
PROMOTED_TAG = "taxi_nb.promoted"
REGISTERED_PARAM = "registered_model"
# In that sentence, of a model that passed the gate and must not be champion before somebody agrees.
WAITS = "waits for a sign-off"
CHAMPION = "champion"

# What checks of data found: in words; the numbers, each by its check and its data; all of it.
CHECKS_TAG = "taxi_nb.checks"
CHECK_METRICS = "check/"
CHECKS_FILE = "checks.json"

# Artifacts. Below SOURCE_FOLDER are the notebook as it was on disk and these files.
SOURCE_FOLDER = "source"
DIFF_FILE = "uncommitted.diff"
DIFF_ARTIFACT = f"{SOURCE_FOLDER}/{DIFF_FILE}"
EXECUTED_FILE = "executed_cells.py"
ENVIRONMENT_FOLDER = "environment"
PACKAGES_FILE = "packages.txt"
HOST_FILE = "host.json"
PARAMETERS_FILE = "parameters.yaml"

# Measurements of the machine: see `measuring.measures_the_machine`.
WALL_METRIC = "wall_seconds"
CPU_METRIC = "cpu_seconds"
PEAK_METRIC = "peak_memory_mb"

Kind = Literal[
    "pipeline",
    "step",
    "training",
    "trial",
    "registration",
    "exploration",
    "scoring",
    "monthly",
    "serving",
]
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
