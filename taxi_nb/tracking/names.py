"""The names that everything tracked goes by: variables, tags, parameters."""

from __future__ import annotations

from typing import Literal

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

Kind = Literal["pipeline", "step", "training", "trial", "registration", "exploration", "scoring"]
Role = Literal["training", "validation"]
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
