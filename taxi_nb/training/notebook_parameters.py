"""What the parameters of notebooks about trips may be: their types, and what holds between them.

A parameters cell names the types, such as ``train_months: list[Month]``. So what a pipeline
file, ``--set`` and ``%params`` give is checked before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from taxi_nb.calendar_months import is_month
from taxi_nb.close_names import close_to
from taxi_nb.trips.checks import check_names_and_mistakes

# The parameters whose months must differ: what is learned from, chosen by and reported on.
_APART = ("train_months", "valid_months", "test_months")


def _month(value: str) -> str:
    if not is_month(value):
        raise ValueError("must be a month such as 2021-03")
    return value


def _model(value: str) -> str:
    from taxi_nb.models.specs import MODELS  # Here: of what a cell reads its steps depend.

    if value not in MODELS:
        raise ValueError(f"must be one of {', '.join(MODELS)}{close_to(value, MODELS)}")
    return value


def _tunable(value: str) -> str:
    from taxi_nb.models.specs import TUNABLE

    if value not in TUNABLE:
        raise ValueError(f"must be one that can be tuned: {', '.join(TUNABLE)}")
    return value


def _cleaning(value: dict[str, Any]) -> dict[str, Any]:
    if value:
        from taxi_nb.trips.cleaning import cleaning_of

        cleaning_of(value)
    return value


def _source(value: str) -> str:
    if not value:
        raise ValueError("must be sample, tlc, a folder of months or a URL such as s3://bucket")
    return value


Month = Annotated[str, AfterValidator(_month)]
"""A month, such as ``"2021-03"``."""

Taxi = Literal["green", "yellow"]
"""Whose trips."""

Source = Annotated[str, AfterValidator(_source)]
"""Where months are: ``"sample"``, ``"tlc"``, a folder, or a URL such as ``s3://bucket/prefix``."""

ModelName = Annotated[str, AfterValidator(_model)]
"""A key of `MODELS`."""

TunableModel = Annotated[ModelName, AfterValidator(_tunable)]
"""A key of `MODELS` that `tune` can search."""

CleaningRules = Annotated[dict[str, Any], AfterValidator(_cleaning)]
"""Settings of `Cleaning` that differ from the usual, such as ``{"max_distance": 100}``."""

ModelParams = Annotated[dict[str, Any], "ModelParams"]
"""What replaces or adds to a model's defaults, such as ``{"n_estimators": 150}``."""

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What random numbers begin with; NumPy takes no other."""

Share = Annotated[float, Field(gt=0, lt=1)]
"""A share between 0 and 1, neither of them."""

Limit = Annotated[float, Field(ge=0)]
"""A number of at least 0."""


# The type of a model's default -> what another value has to be, and its types.
_NUMBERS: dict[type, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
}


def _of_model(model: Any, params: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a model's parameters."""
    from taxi_nb.models.specs import MODELS

    if model not in MODELS:
        return
    usual = MODELS[model].defaults
    if not params.keys() <= usual.keys():
        from taxi_nb.models.choice import known_parameters  # It brings the models' libraries along.

        anybodys = {key for one in MODELS for key in known_parameters(one)}
        for key in sorted(map(str, params.keys() - known_parameters(model))):
            whose = model if key in anybodys else f"any model{close_to(key, anybodys)}"
            yield f"has {key!r}, which is no parameter of {whose}"
    for key, value in params.items():
        # By the type itself: True is an int, and no number.
        kind, fits = _NUMBERS.get(type(usual.get(key)), ("", (type(value),)))
        if type(value) not in fits:
            yield f"must have {kind} for {key!r}, got {value!r}"


class NotebookParameters:
    """What a pipeline file is checked with."""

    # By the names that a notebook imports.
    types: Mapping[str, Any] = {
        "taxi_nb.CleaningRules": CleaningRules,
        "taxi_nb.Count": Count,
        "taxi_nb.Limit": Limit,
        "taxi_nb.ModelName": ModelName,
        "taxi_nb.ModelParams": ModelParams,
        "taxi_nb.Month": Month,
        "taxi_nb.Seed": Seed,
        "taxi_nb.Share": Share,
        "taxi_nb.Source": Source,
        "taxi_nb.Taxi": Taxi,
        "taxi_nb.TunableModel": TunableModel,
    }
    checks = staticmethod(check_names_and_mistakes)

    @staticmethod
    def mistakes(
        declared: Mapping[str, str], values: Mapping[str, Any]
    ) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with a step's values taken together: a name, and a sentence.

        `declared` has the types by names, as notebooks write them.
        """
        given = [
            (name, values[name])
            for name in _APART
            if "Month" in declared.get(name, "") and name in values
        ]
        for number, (name, months) in enumerate(given):
            for other, others in given[:number]:
                if shared := sorted({*months} & {*others}):
                    yield name, f"must have no month of {other}, both have {', '.join(shared)}"
        for name, kind in declared.items():
            if kind == "ModelParams" and values.get(name):
                yield from ((name, told) for told in _of_model(values.get("model"), values[name]))


PARAMETERS = NotebookParameters()


def source_and_months(
    declared: Mapping[str, str], values: Mapping[str, Any]
) -> tuple[str, str, tuple[str, ...]] | None:
    """Return source, taxi and months of a step; None of the sample, which has every month.

    >>> types = {"source": "Source", "taxi": "Taxi", "train_months": "list[Month]"}
    >>> source_and_months(types, {"source": "tlc", "taxi": "green", "train_months": ["2021-01"]})
    ('tlc', 'green', ('2021-01',))
    """
    if declared.get("source") != "Source" or values.get("source", "sample") == "sample":
        return None
    months: dict[str, None] = {}
    for name, kind in declared.items():
        if "Month" in kind and name in values:
            value = values[name]
            months |= dict.fromkeys([value] if isinstance(value, str) else value)
    return values["source"], values.get("taxi", "green"), tuple(filter(None, months))
