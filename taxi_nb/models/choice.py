"""A model by its name, with parameters: checked, and built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sklearn.pipeline import Pipeline

from .carried import carried_name, sources
from .specs import MODELS, ModelSpec

# Read now, with the code that is imported now: a model carries what made it.
sources()


@dataclass(frozen=True)
class ModelChoice:
    """A model with chosen parameters; a `ValueError` if there is no such model or parameter."""

    name: str  # A key of `MODELS`.
    params: Mapping[str, Any] = field(default_factory=dict)  # Beside and above the defaults.
    seed: int = 42  # ``random_state`` of models and features that draw random numbers.

    def __post_init__(self) -> None:
        if self.name not in MODELS:
            raise ValueError(f"`model` must be one of {sorted(MODELS)}, got: {self.name!r}")
        known = known_parameters(self.name)
        unknown = sorted(set(self.params) - set(known))
        if unknown:
            raise ValueError(
                f"`params` of model {self.name!r} must be among {sorted(known)}, got: {unknown}"
            )

    @property
    def spec(self) -> ModelSpec:
        """The kind of model."""
        return MODELS[self.name]

    @property
    def estimator_params(self) -> dict[str, Any]:
        """The parameters that differ from the library's own."""
        seeding = {"random_state": self.seed} if self.spec.seeded else {}
        return {**seeding, **self.spec.defaults, **self.params}

    def pipeline(self) -> Pipeline:
        """Build the scikit-learn Pipeline from raw trip columns to minutes, not fitted."""
        return Pipeline([("features", self.features()), ("model", self.estimator())])

    def features(self) -> Any:
        """Build the transformer from raw trip columns to a model matrix, not fitted."""
        groups = {"groups": self.spec.groups, "random_state": self.seed}
        return _class(self.spec.features)(**(groups if self.spec.groups else {}))

    def estimator(self) -> Any:
        """Build the estimator that learns from the model matrix, not fitted."""
        return _class(self.spec.estimator)(**self.estimator_params)

    def in_batches(self) -> ModelChoice:
        """Return the model that learns the same from months too large for memory.

        A `ValueError` says that there is none, or that it lacks a parameter that was chosen.
        """
        name = self.spec.in_batches
        if name is None:
            raise ValueError(f"model {self.name!r} cannot learn in batches")
        if name == self.name:
            return self
        shared, usual = MODELS[name].defaults, known_parameters(self.name)
        lost = [
            key for key, value in self.params.items() if key not in shared and value != usual[key]
        ]
        if lost:
            raise ValueError(
                f"in batches {self.name!r} is solved as {name!r}, which has no parameter {lost}; "
                f"its parameters are {sorted(shared)}"
            )
        chosen = {key: value for key, value in self.params.items() if key in shared}
        return ModelChoice(name, {**self.spec.defaults, **chosen}, self.seed)

    def trusted_types(self) -> list[str]:
        """Return what skops has to be told is safe, as a logged model names it."""
        specs = [self.spec, *([MODELS[self.spec.in_batches]] if self.spec.in_batches else [])]
        own = [
            name for one in specs for name in (one.features, one.estimator) if name.startswith(".")
        ]
        named = dict.fromkeys([*own, *(name for one in specs for name in one.trusted)])
        return [f"{carried_name()}{name}" if name.startswith(".") else name for name in named]


def known_parameters(model: str) -> dict[str, Any]:
    """Return what may be chosen of a model, with the values that its library gives them."""
    return dict(_class(MODELS[model].estimator)().get_params())


def _class(name: str) -> Any:
    module, _, found = name.rpartition(".")
    try:
        return getattr(import_module(module, __package__), found)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        remedy = "pip install 'taxi-nb[taxi]'"
        message = f"{name} needs {package}, the extra `taxi` brings it: {remedy}"
        raise ModuleNotFoundError(message, name=error.name) from None


def make_model(name: str, params: Mapping[str, Any] | None = None, *, seed: int = 42) -> Pipeline:
    """Build the scikit-learn Pipeline from raw trip columns to minutes.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    params : mapping, optional
        Estimator parameters that replace or add to the defaults.
    seed : int
        ``random_state`` of the models and features that draw random numbers.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Not fitted; steps ``features`` and ``model``.

    Raises
    ------
    ValueError
        If there is no such model or it has no such parameter.

    Examples
    --------
    >>> from taxi_nb import make_model
    >>> make_model("ridge", {"alpha": 2.0}).named_steps["model"].alpha
    2.0
    """
    return ModelChoice(name, params or {}, seed).pipeline()
