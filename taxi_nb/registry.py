"""Challenger against champion: which model version people should use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from taxi_nb.evaluation import regression_metrics
from taxi_nb.tracking import (
    CHAMPION,
    DECISION_TAG,
    REGISTERED_PARAM,
    SYNTHETIC_TAG,
    connect,
    log_trips,
    tracked_run,
)
from taxi_nb.training import model_uri

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

DEFAULT_NAME = "nyc-taxi-duration"
CHALLENGER = "challenger"


@dataclass(frozen=True)
class PromotionDecision:
    """Which version won, and by what numbers.

    Attributes
    ----------
    promoted : bool
        Whether the alias ``champion`` moved to the challenger.
    challenger_rmse, champion_rmse : float
        Minutes, on the same validation trips; the champion's is None when
        there was none.
    margin : float
        Minutes by which the challenger had to be better.
    """

    name: str
    promoted: bool
    challenger_version: str
    challenger_rmse: float
    champion_version: str | None
    champion_rmse: float | None
    margin: float
    reason: str

    def __str__(self) -> str:
        verdict = "promoted" if self.promoted else "not promoted"
        return f"{self.name} version {self.challenger_version} {verdict}: {self.reason}"


def promote_if_better(
    challenger: Run,
    validation: pd.DataFrame,
    *,
    margin: float = 0.05,
    name: str = DEFAULT_NAME,
) -> PromotionDecision:
    """Register a run's model and let it become champion if it is better by a margin.

    Both models predict the same validation trips here and now. The decision
    and its numbers are logged either way.

    Parameters
    ----------
    challenger : mlflow.entities.Run
        A training run, as `training_runs` returns them.
    validation : DataFrame
        As `load_trips` returned them.
    margin : float
        Minutes of RMSE that a challenger must gain; 0 or more.
    name : str
        Of the registered model.

    Raises
    ------
    ValueError
        If the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"`margin` must be 0 or more minutes, got: {margin!r}")
    import mlflow
    from mlflow import MlflowClient

    connect()
    client = MlflowClient()
    with tracked_run(name="promotion", kind="registration"):
        champion = _champion(client, name)
        version = _register(client, challenger, name)
        decision = _decide(version, champion, validation, margin)
        if decision.promoted:
            client.set_registered_model_alias(name, CHAMPION, version.version)
        log_trips(validation, "validation")
        mlflow.log_params({REGISTERED_PARAM: name, "margin": margin})
        mlflow.set_tag(DECISION_TAG, str(decision))
        mlflow.log_metrics(_numbers(decision))
        mlflow.log_dict(asdict(decision), "promotion.json")
    return decision


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        # A first run has neither the registered model nor the alias.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _register(client: MlflowClient, run: Run, name: str) -> ModelVersion:
    """Register the run's model, or find the version that it already is."""
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run.info.run_id}'")
    version = known[0] if known else _new_version(client, run, name)
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    return version


def _new_version(client: MlflowClient, run: Run, name: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    address = model_uri(run)
    return client.create_model_version(
        name,
        source=address,
        run_id=run.info.run_id,
        model_id=address.removeprefix("models:/"),
        tags={
            "model": run.data.params["model"],
            SYNTHETIC_TAG: run.data.tags.get(SYNTHETIC_TAG, "unknown"),
        },
    )


def _decide(
    challenger: ModelVersion,
    champion: ModelVersion | None,
    validation: pd.DataFrame,
    margin: float,
) -> PromotionDecision:
    score = _rmse(challenger, validation)
    held = _rmse(champion, validation) if champion else None
    promoted, reason = _verdict(challenger, score, champion, held, margin)
    return PromotionDecision(
        name=challenger.name,
        promoted=promoted,
        challenger_version=str(challenger.version),
        challenger_rmse=score,
        champion_version=str(champion.version) if champion else None,
        champion_rmse=held,
        margin=margin,
        reason=reason,
    )


def _verdict(
    challenger: ModelVersion,
    score: float,
    champion: ModelVersion | None,
    held: float | None,
    margin: float,
) -> tuple[bool, str]:
    if champion is None or held is None:
        return True, f"there was no champion; RMSE {score:.3f} minutes"
    if challenger.version == champion.version:
        return False, "it is the champion already"
    if _is_synthetic(challenger) and not _is_synthetic(champion):
        return False, f"it learned from synthetic trips, version {champion.version} from real ones"
    gain = held - score
    versus = f"RMSE {score:.3f} against {held:.3f} minutes of version {champion.version}"
    if gain > margin:
        return True, f"{versus}: better by {gain:.3f}, more than the margin of {margin}"
    return False, f"{versus}: a gain of {gain:.3f} is not above the margin of {margin}"


def _is_synthetic(version: ModelVersion) -> bool:
    return version.tags.get(SYNTHETIC_TAG) == "true"


def _rmse(version: ModelVersion, validation: pd.DataFrame) -> float:
    import mlflow.sklearn

    estimator = mlflow.sklearn.load_model(f"models:/{version.name}/{version.version}")
    return regression_metrics(validation["duration"], estimator.predict(validation))["rmse"]


def _numbers(decision: PromotionDecision) -> dict[str, float]:
    numbers = {
        "challenger_rmse": decision.challenger_rmse,
        "promoted": float(decision.promoted),
    }
    if decision.champion_rmse is not None:
        numbers["champion_rmse"] = decision.champion_rmse
    return numbers
