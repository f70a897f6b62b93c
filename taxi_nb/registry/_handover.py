"""Moving the alias ``champion`` as the history says, also after a kill or a move from outside."""

from __future__ import annotations

import time

from taxi_nb.registry.history import Promotion, PromotionHistory, PromotionLog
from taxi_nb.registry.versions import RegistryError, champion, set_alias
from taxi_nb.tracking.names import CHAMPION

# How long a promotion may take to move the alias before another process does it for it.
_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.1


def settled_history(log: PromotionLog) -> PromotionHistory:
    """Return the history once the alias agrees with it.

    An interrupted promotion is finished first, and a move from outside is noted.
    """
    while True:
        history = read_history(log)
        latest = history.latest
        if latest and latest.pending:
            _wait_for(log, latest)
            follow_history(log)
        elif history.champion == (latest.after if latest else None):
            return history
        else:
            log.append(_moved_outside(latest, history.champion), history.promotions)


def read_history(log: PromotionLog) -> PromotionHistory:
    """Return the history as it is, and change nothing."""
    promotions = log.read()
    version = champion(log.name)
    return PromotionHistory(log.name, promotions, str(version.version) if version else None)


def hand_over(
    log: PromotionLog, promotion: Promotion, history: PromotionHistory
) -> Promotion | None:
    """Make a version champion, unless the champion has changed since that was decided.

    Returns the promotion as it is in the history, or None if another process was first.
    `RegistryError` if the version was deleted at the same moment.
    """
    made = log.append(promotion, history.promotions)
    if made is None:
        return None
    follow_history(log)
    made = log.read()[made.number - 1]
    if not made.carried_out:
        raise RegistryError(f"{log.name}: {made.outcome}; the champion is who it was")
    return made


def follow_history(log: PromotionLog) -> None:
    """Move the alias to the latest promotion, again if a newer one has come meanwhile."""
    while True:
        latest = read_history(log).latest
        if latest is None or latest.after is None:
            return
        log.settle(latest.number, _move(log, latest.after))
        now = read_history(log).latest
        if now is not None and now.number == latest.number:
            return


def _move(log: PromotionLog, version: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        set_alias(log.client, log.name, CHAMPION, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return f"not carried out: version {version} was deleted"
    return "moved"


def _wait_for(log: PromotionLog, promotion: Promotion) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and log.read()[promotion.number - 1].pending:
        time.sleep(_POLL_SECONDS)


def _moved_outside(latest: Promotion | None, champion: str | None) -> Promotion:
    before, reason = None, "the alias was there before this history"
    if latest:
        before = latest.after
        reason = f"found {'moved' if champion else 'removed'} outside taxi-nb"
    reason += "; who did it is not known"
    return Promotion.now("outside", before, champion, reason=reason, who="unknown", commit=None)
