"""MLflow's conventions: which store, how runs nest, what every run carries.

Both wings use this package and no other knows these conventions. A notebook
opens its run with `tracked_run`; in the pipeline that line joins the run that
the pipeline made for the step, in JupyterLab it opens one of its own.
"""

from taxi_nb.tracking.contents import RunContents, log_figure, log_tables, log_trips
from taxi_nb.tracking.context import authorship
from taxi_nb.tracking.found_runs import Champion, champion_run, training_runs, upstream_runs
from taxi_nb.tracking.names import (
    CHAMPION,
    DECISION_TAG,
    DEFAULT_EXPERIMENT,
    EXPERIMENT_VARIABLE,
    KIND_TAG,
    NOTEBOOK_VARIABLE,
    OWNER_TAG,
    PARENT_TAG,
    PIPELINE_RUN_TAG,
    REGISTERED_PARAM,
    RUN_VARIABLE,
    SOURCE_TAG,
    STEP_TAG,
    SYNTHETIC_TAG,
    UPSTREAM_VARIABLE,
    URI_VARIABLE,
    Kind,
    Role,
    RunStatus,
)
from taxi_nb.tracking.origin import current_notebook
from taxi_nb.tracking.pipeline_runs import (
    ModelOutcomes,
    PipelineTracking,
    TrainedModel,
    step_environment,
)
from taxi_nb.tracking.run import tracked_run
from taxi_nb.tracking.store import (
    TrackingError,
    connect,
    experiment_name,
    run_address,
    store_problems_told,
    tracking_uri,
)

__all__ = [
    "CHAMPION",
    "DECISION_TAG",
    "DEFAULT_EXPERIMENT",
    "EXPERIMENT_VARIABLE",
    "KIND_TAG",
    "NOTEBOOK_VARIABLE",
    "OWNER_TAG",
    "PARENT_TAG",
    "PIPELINE_RUN_TAG",
    "REGISTERED_PARAM",
    "RUN_VARIABLE",
    "SOURCE_TAG",
    "STEP_TAG",
    "SYNTHETIC_TAG",
    "UPSTREAM_VARIABLE",
    "URI_VARIABLE",
    "Champion",
    "Kind",
    "ModelOutcomes",
    "PipelineTracking",
    "Role",
    "RunContents",
    "RunStatus",
    "TrackingError",
    "TrainedModel",
    "authorship",
    "champion_run",
    "connect",
    "current_notebook",
    "experiment_name",
    "log_figure",
    "log_tables",
    "log_trips",
    "run_address",
    "step_environment",
    "store_problems_told",
    "tracked_run",
    "tracking_uri",
    "training_runs",
    "upstream_runs",
]
