"""Challenger against champion: what moves the alias that people load, and back."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from taxi_nb.registry import versions
from taxi_nb.registry._handover import hand_over, read_history, settled_history
from taxi_nb.registry._selection import Selection
from taxi_nb.registry.card import attach_card
from taxi_nb.registry.gate import Gate, Judged, PromotionDecision, judge
from taxi_nb.registry.history import Kind, Promotion, PromotionHistory, PromotionLog
from taxi_nb.registry.sign_off import missing_agreement
from taxi_nb.registry.versions import DEFAULT_NAME, RegistryError, is_synthetic, usable
from taxi_nb.tracking.inputs import used_variable
from taxi_nb.tracking.names import (
    DECISION_TAG,
    PROMOTE_VARIABLE,
    PROMOTED_TAG,
    REGISTERED_PARAM,
    WAITS,
)
from taxi_nb.tracking.run import tracked_run
from taxi_nb.tracking.store import connect
from taxi_nb.training.trained_models import TrainedModel
from taxi_nb.training.used_trips import log_trips
from taxi_nb.trips.arguments import require
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

# In minutes, by their names in a decision, a run's metrics and the history.
_NUMBERS = (
    *("challenger_rmse", "challenger_rmse_error", "champion_rmse"),
    *("gain", "gain_error", "gain_by_chance"),
)


def promote_if_better(
    challenger: TrainedModel | Run,
    validation: pd.DataFrame,
    *,
    margin: float = 0.05,
    slice_margin: float = 0.5,
    candidates: int | None = None,
    name: str = DEFAULT_NAME,
) -> PromotionDecision:
    """Register a run's model and let it become champion if it is better by a margin.

    Both models predict the same validation trips here and now. The gain has to be above the
    margin and more than chance explains, days being blocks, for the best of so many candidates;
    and no slice of the trips may get much worse. With few days nothing is promoted on their word,
    unless there is no champion. Where the champion is protected, a version that passes and is not
    signed off waits. Where nothing is to be promoted (``taxi-nb run --no-promote``, or
    ``TAXI_NB_PROMOTE=no``), it is judged all the same, and no alias moves. Neither model may have
    learned from these trips; a model of synthetic trips never replaces one of real ones. The
    decision is logged either way. Where these trips made it champion before, that decision is given
    again, and says that it stands. If another process changes the champion meanwhile, the
    challenger is judged again.

    Parameters
    ----------
    challenger : TrainedModel or mlflow.entities.Run
        One of `trained_models`, or a training run as `training_runs` returns them.
    validation : DataFrame
        As `load_trips` returned them.
    margin, slice_margin : float
        Minutes of RMSE that it must gain, and those that it may lose in an hour, a band of
        distances or a borough; 0 or more.
    candidates : int, optional
        How many models the challenger is the best of, on these trips. Without it, those that
        learned from the same trips and were validated on these are counted.
    name : str
        Of the registered model.

    Returns
    -------
    PromotionDecision
        Which version is champion now, by what numbers and why.

    Raises
    ------
    ValueError
        If a margin is negative, or there is no candidate.
    RegistryError
        If the champion cannot be loaded.

    Examples
    --------
    >>> best = trained_models(training, validation).best
    >>> promote_if_better(best, validation).promoted  # decided before, and it stands
    True
    """
    require(margin >= 0, "margin", margin, "be 0 or more minutes")
    require(slice_margin >= 0, "slice_margin", slice_margin, "be 0 or more minutes")
    require(candidates is None or candidates >= 1, "candidates", candidates, "be 1 or more")
    moves = _may_promote()
    import mlflow
    from mlflow import MlflowClient

    connect()
    client = MlflowClient()
    with tracked_run(name="promotion", kind="registration") as run:
        if isinstance(challenger, TrainedModel):
            challenger = client.get_run(challenger.run_id)
        selection = Selection.of(challenger, validation, candidates)
        version = versions.register(client, challenger, name, moves_aliases=moves)
        judged = judge(version, validation)
        attach_card(client, judged, selection)
        gate, log = Gate(margin, slice_margin), PromotionLog(client, name)
        by = run.info.run_id if moves else None
        decision = _decision_on(judged, selection, gate, log, by)
        log_trips(validation, "validation")
        mlflow.log_params({REGISTERED_PARAM: name, "margin": margin, "slice_margin": slice_margin})
        promoted = str(decision.promoted).lower()
        mlflow.set_tags({DECISION_TAG: str(decision), PROMOTED_TAG: promoted})
        mlflow.log_metrics(_numbers(decision))
        mlflow.log_dict(asdict(decision), "promotion.json")
    return decision


def _may_promote() -> bool:
    """Whether a decision may move aliases here; it is an input of the step that asks."""
    used_variable(PROMOTE_VARIABLE)
    given = os.environ.get(PROMOTE_VARIABLE) or "yes"
    require(given in ("yes", "no"), PROMOTE_VARIABLE, given, "be yes or no, or not set")
    return given == "yes"


def _decision_on(
    challenger: Judged, selection: Selection, gate: Gate, log: PromotionLog, run_id: str | None
) -> PromotionDecision:
    """Judge against the champion, again whenever it is another one by then.

    Without the id of a run that may promote nothing is written, to alias or history.
    """
    while True:
        history = settled_history(log) if run_id else read_history(log)
        if run_id and (standing := _standing_decision(challenger, gate, history)) is not None:
            return standing
        held = _champion_of(log, history)
        champion = judge(held, challenger.validation) if held else None
        decision = gate.decide(challenger, champion, selection)
        if not decision.promoted:
            return decision
        if missing := missing_agreement(log.client, challenger.version, run_id):
            reason = f"{decision.reason}; {missing}"
            return replace(decision, promoted=False, waits=True, reason=reason)
        if run_id is None:
            return replace(decision, promoted=False, withheld=True)
        promotion = Promotion.now(
            "promotion",
            history.champion,
            decision.challenger_version,
            reason=decision.reason,
            run_id=run_id,
            validation_digest=provenance(challenger.validation).digest,
            numbers=_numbers(decision) | {"margin": gate.margin},
        )
        made = hand_over(log, promotion, history)
        if made is not None:
            return replace(decision, number=made.number)


def _standing_decision(
    challenger: Judged, gate: Gate, history: PromotionHistory
) -> PromotionDecision | None:
    """Return the decision that made the challenger champion, if it was made on these very trips.

    A step that was killed after it had promoted comes to the same when it is run again.
    """
    made = history.latest
    if made is None or made.kind != "promotion" or made.after != challenger.number:
        return None
    if made.validation_digest != provenance(challenger.validation).digest:
        return None
    known = dict(made.numbers)
    if known.pop("margin", None) != gate.margin or "challenger_rmse" not in known:
        return None
    counts = {name: int(known[name]) for name in ("candidates", "days") if name in known}
    return PromotionDecision(
        name=history.name,
        promoted=True,
        challenger_version=challenger.number,
        champion_version=made.before,
        margin=gate.margin,
        reason=f"{made.reason}. That was decided at {made.at} (number {made.number}), and stands",
        number=made.number,
        **{name: known.get(name) for name in _NUMBERS},  # type: ignore[arg-type]
        **counts,  # type: ignore[arg-type]
    )


def promote(version: str, *, reason: str, name: str = DEFAULT_NAME) -> Promotion:
    """Make a version champion without the gate; the history says who did, and why.

    `RegistryError` if it cannot be used or is champion already, if the champion changed meanwhile,
    if it learned from synthetic trips and the champion from real ones, or if the champion is
    protected and nobody signed off this version. `ValueError` without a reason.
    """
    if not reason.strip():
        raise ValueError("`reason` must say why, got nothing")
    log = PromotionLog(versions.registry_client(), name)
    chosen = usable(name, version, as_it_is=True)
    history = settled_history(log)
    held = _champion_of(log, history)
    if held and is_synthetic(chosen) and not is_synthetic(held):
        raise RegistryError(
            f"{name} version {version} learned from synthetic trips and version {held.version}, "
            "the champion, from real ones: it must not replace it"
        )
    if missing := missing_agreement(log.client, chosen):
        raise RegistryError(f"version {version} {WAITS}: {missing}")
    return _carry_out("by hand", chosen, reason, log, history)


def rollback(
    to: str | None = None, *, reason: str = "rolled back", name: str = DEFAULT_NAME
) -> Promotion:
    """Make the champion before this one champion again, or the former champion that is named.

    That needs no sign-off: it was in use, and going back is for when something is wrong.
    `RegistryError` if there was none, it cannot be used, or the champion changed meanwhile.
    """
    log = PromotionLog(versions.registry_client(), name)
    history = settled_history(log)
    chosen = usable(name, to or _predecessor(history))
    if not any(one.after == str(chosen.version) for one in history.promotions):
        raise RegistryError(
            f"{name} version {chosen.version} has never been champion; to make it so: "
            f"taxi-nb registry promote {chosen.version} --reason WHY"
        )
    held = _champion_of(log, history)
    if to is None and held and is_synthetic(chosen) and not is_synthetic(held):
        raise RegistryError(
            f"the champion before, version {chosen.version}, learned from synthetic trips and "
            f"version {held.version} from real ones; --to {chosen.version} puts it back all the "
            "same"
        )
    return _carry_out("rollback", chosen, reason, log, history)


def promotion_history(name: str = DEFAULT_NAME) -> PromotionHistory:
    """Find who became champion when, by whom and why.

    Parameters
    ----------
    name : str
        Of the registered model.

    Returns
    -------
    PromotionHistory
        A notebook shows it as a table.

    Examples
    --------
    >>> promotion_history().champion
    '3'
    """
    return read_history(PromotionLog(versions.registry_client(), name))


def _champion_of(log: PromotionLog, history: PromotionHistory) -> ModelVersion | None:
    number = history.champion
    return None if number is None else log.client.get_model_version(log.name, number)


def _predecessor(history: PromotionHistory) -> str:
    line = history.succession
    if history.champion is not None:
        line = line[:-1]
    if not line:
        first = history.champion
        why = f"version {first} is the first" if first else "it never had one"
        raise RegistryError(f"{history.name} has no champion to go back to: {why}")
    return line[-1]


def _carry_out(
    kind: Kind, chosen: ModelVersion, reason: str, log: PromotionLog, history: PromotionHistory
) -> Promotion:
    """Carry out a person's decision; the person decides again if the champion has changed."""
    version = str(chosen.version)
    if version == history.champion:
        raise RegistryError(f"{log.name} version {version} is the champion already")
    promotion = Promotion.now(kind, history.champion, version, reason=reason)
    made = hand_over(log, promotion, history)
    if made is None:
        now = versions.champion(log.name)
        raise RegistryError(
            f"another process changed the champion of {log.name} at the same moment: it is "
            f"version {now.version if now else 'none'} now. Nothing was done; see "
            f"taxi-nb registry history --name {log.name}"
        )
    return made


def _numbers(decision: PromotionDecision) -> dict[str, float]:
    values = {name: getattr(decision, name) for name in (*_NUMBERS, "candidates", "days")}
    known = {name: float(value) for name, value in values.items() if value is not None}
    return {**known, "promoted": float(decision.promoted)}
