"""The model card: what a version is, what it learned from, how good it is and where it is not.

Its parts follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019,
https://arxiv.org/abs/1810.03993.
"""

from __future__ import annotations

import re
from functools import cache
from io import StringIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from taxi_nb.evaluation.metrics import error_by
from taxi_nb.evaluation.slices import SLICES, trip_slices
from taxi_nb.models.specs import MODELS
from taxi_nb.registry.versions import RegistryError, is_synthetic, usable
from taxi_nb.tracking.model_address import ModelAddress
from taxi_nb.training.logged_evaluation import EVALUATED_RUN_TAG
from taxi_nb.training.used_trips import Role, logged_trips
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from taxi_nb.registry._selection import Selection
    from taxi_nb.registry.gate import Judged

CARD_FILE = "model_card.md"

# What a column of MLflow's databases holds for a version's description.
_LONGEST_DESCRIPTION = 5_000
_FEW_TRIPS = 30
_EXAMPLE_TRIPS = 2
_METRICS = ("rmse", "mae", "r2")


def model_card(name: str, version: str) -> str:
    """Return the model card of a registered version, in Markdown.

    Parameters
    ----------
    name, version : str
        Of the registered model.

    Returns
    -------
    str
        As it was written when the version was registered.

    Raises
    ------
    RegistryError
        If there is no such version, or it was registered without a card.

    Examples
    --------
    >>> model_card("nyc-taxi-duration", "3").splitlines()[0]
    '# nyc-taxi-duration, version 3'
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    found = usable(name, version)
    try:
        card = str(mlflow.artifacts.load_text(f"runs:/{found.run_id}/{CARD_FILE}"))
    except (MlflowException, OSError):
        card = ""
    # A run that is registered under several names has the card of the last one.
    if card.startswith(_title(found)):
        return card
    if found.description:
        return str(found.description)
    raise RegistryError(f"{name} version {version} was registered without a card")


def attach_card(client: MlflowClient, judged: Judged, selection: Selection) -> None:
    """Write the card of a version, if it has none: as its description and beside its run."""
    version = judged.version
    if version.description:
        return
    run = client.get_run(str(version.run_id))
    content = {**_content(client, judged, run), "selection": selection}
    card = _template().render(content)
    client.log_text(run.info.run_id, card, CARD_FILE)
    if len(card) > _LONGEST_DESCRIPTION:
        short = {**content, "slices": {}, "missed": None, "moved": None}
        card = _template().render(short)[:_LONGEST_DESCRIPTION]
    client.update_model_version(version.name, version.version, description=card)


def _title(version: ModelVersion) -> str:
    return f"# {ModelAddress.of(version).title}\n"


def _content(client: MlflowClient, judged: Judged, run: Run) -> dict[str, Any]:
    import mlflow
    from mlflow.exceptions import MlflowException

    version, params = judged.version, run.data.params
    slices = {
        name: error_by(judged.validation, judged.predicted, by)
        for name, by in trip_slices(judged.validation).items()
    }
    try:
        # `get_model_info` asks for the logged model that a copy has only where it came from.
        info = mlflow.models.Model.load(str(ModelAddress.of(version)))
    except (MlflowException, OSError) as error:
        raise RegistryError(f"{version.name} version {version.version} has no files") from error
    columns = info.signature.inputs.input_names()
    evaluations = _evaluations(client, run)
    tested = next((one for one in evaluations if "test_rmse" in one.data.metrics), None)
    tables = ((one, _tables(client, one)) for one in evaluations)
    told, known = next((found for found in tables if "importance" in found[1]), (None, set()))
    roles: tuple[Role, ...] = ("training", "validation")
    data = {role: logged_trips(run.info.run_id, role) for role in roles}
    if tested:
        data["test"] = logged_trips(tested.info.run_id, "test")
    return {
        "title": _title(version),
        "version": version,
        "run": run,
        "tags": version.tags,
        "synthetic": is_synthetic(version),
        "model": params["model"],
        "parameters": {k: params[k] for k in MODELS[params["model"]].defaults if k in params},
        "columns": columns,
        "data": {role: origin for role, origin in data.items() if origin},
        "metrics": {
            label: {name: of.data.metrics.get(f"{prefix}_{name}") for name in _METRICS}
            for label, prefix, of in (
                ("training", "train", run),
                ("validation", "valid", run),
                ("test", "test", tested),
            )
            if of
        },
        "tested": tested.data.metrics if tested else None,
        "judged_rmse": judged.rmse_over_days,
        "judged_on": provenance(judged.validation),
        "slices": slices,
        "slice_titles": SLICES,
        "few": _FEW_TRIPS,
        "weakest": {name: _weakest(table) for name, table in slices.items()},
        "rare": {
            name: [str(value) for value in table.index[table["trips"] < _FEW_TRIPS]]
            for name, table in slices.items()
        },
        "intervals": next(
            (one.data.metrics for one in evaluations if "interval_coverage" in one.data.metrics),
            None,
        ),
        "reasons_run": told.info.run_id if told else None,
        "missed": _table(told, "importance") if told else None,
        "moved": _table(told, "why") if told and "why" in known else None,
        "example": _example(judged, columns),
    }


def _tables(client: MlflowClient, run: Run) -> set[str]:
    """Return the names of the tables that an evaluation has logged."""
    files = client.list_artifacts(run.info.run_id, "tables")
    return {PurePosixPath(file.path).stem for file in files}


def _table(run: Run, name: str) -> pd.DataFrame:
    import mlflow
    import pandas as pd

    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/tables/{name}.csv")
    return pd.read_csv(StringIO(text), index_col=0)


def _weakest(table: pd.DataFrame) -> Any:
    """Return the slice with the largest error, of those with enough trips to tell."""
    enough = table[table["trips"] >= _FEW_TRIPS]
    return None if enough.empty else enough.iloc[int(enough["rmse"].argmax())]


def _evaluations(client: MlflowClient, run: Run) -> list[Run]:
    """Return the evaluations of a training run's model, newest first."""
    return list(
        client.search_runs(
            [run.info.experiment_id],
            f"tags.`{EVALUATED_RUN_TAG}` = '{run.info.run_id}'",
            order_by=["attributes.start_time DESC"],
        )
    )


def _example(judged: Judged, columns: list[str]) -> dict[str, Any]:
    """Return a few trips as Python writes them, and what the model says of them."""
    trips = judged.validation[columns].head(_EXAMPLE_TRIPS)
    minutes = [round(float(value), 2) for value in judged.predicted[:_EXAMPLE_TRIPS]]
    return {"columns": {name: _literal(trips[name]) for name in columns}, "minutes": minutes}


def _literal(values: pd.Series) -> str:
    if values.dtype.kind == "M":
        return f"pd.to_datetime({[str(value) for value in values]})"
    return repr(values.tolist())


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Markdown is not HTML: what comes from outside goes through `plain`.
    environment = Environment(
        loader=PackageLoader("taxi_nb.registry", "."),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": _plain, "minutes": _minutes}
    return environment.get_template("model_card.md.j2")


def _plain(value: object) -> str:
    """Return a text that neither HTML nor Markdown's tables and links can be made of."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)


def _minutes(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
