"""What a notebook imports: trips, tracked training, tuning, the registry.

Importing the package is cheap. A name is loaded from its module when it is
first used, so that the command line answers before pandas has been imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taxi_nb.models.carried import ModelCode

if TYPE_CHECKING:
    from taxi_nb.evaluation import error_by, regression_metrics, rule_of_thumb
    from taxi_nb.intervals import ConformalIntervals
    from taxi_nb.models.specs import MODELS, make_model
    from taxi_nb.registry import (
        PromotionDecision,
        model_card,
        promote_if_better,
        promotion_history,
    )
    from taxi_nb.scoring import Scoring, score
    from taxi_nb.secrets import secret
    from taxi_nb.tracking import log_trips, tracked_run, training_runs
    from taxi_nb.training import TrainingResult, load_model, train
    from taxi_nb.trips import (
        Cleaning,
        CleaningReport,
        Provenance,
        iter_trips,
        load_trips,
        provenance,
    )
    from taxi_nb.tuning import tune

# Before any model is loaded: what one carries must not take the place of the project's code.
ModelCode.install()

_HOMES = {
    "MODELS": "models.specs",
    "Cleaning": "trips",
    "CleaningReport": "trips",
    "ConformalIntervals": "intervals",
    "PromotionDecision": "registry",
    "Provenance": "trips",
    "Scoring": "scoring",
    "TrainingResult": "training",
    "error_by": "evaluation",
    "iter_trips": "trips",
    "load_model": "training",
    "load_trips": "trips",
    "log_trips": "tracking",
    "make_model": "models.specs",
    "model_card": "registry",
    "promote_if_better": "registry",
    "promotion_history": "registry",
    "provenance": "trips",
    "regression_metrics": "evaluation",
    "rule_of_thumb": "evaluation",
    "secret": "secrets",
    "score": "scoring",
    "tracked_run": "tracking",
    "train": "training",
    "training_runs": "tracking",
    "tune": "tuning",
}

__all__ = [
    "MODELS",
    "Cleaning",
    "CleaningReport",
    "ConformalIntervals",
    "PromotionDecision",
    "Provenance",
    "Scoring",
    "TrainingResult",
    "error_by",
    "iter_trips",
    "load_model",
    "load_trips",
    "log_trips",
    "make_model",
    "model_card",
    "promote_if_better",
    "promotion_history",
    "provenance",
    "regression_metrics",
    "rule_of_thumb",
    "score",
    "secret",
    "tracked_run",
    "train",
    "training_runs",
    "tune",
]


def load_ipython_extension(shell: Any) -> None:
    """Serve ``%load_ext taxi_nb``: the magic ``%params``, and objects that show well."""
    from taxi_nb.lab import register

    register(shell)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'taxi_nb' has no attribute {name!r}")
    return getattr(import_module(f"taxi_nb.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
