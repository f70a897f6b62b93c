"""Who became champion when, and why: a history that the store itself keeps append-only.

MLflow moves an alias without asking what it names at that moment, so two promotions at once
could both win. The promotions are therefore notes of the model that are written once, numbered
from 1. Whoever writes number n+1 has promoted; another process finds the number taken and decides
again. A process that is killed holds nothing that others wait for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from taxi_nb.plain_data import from_plain
from taxi_nb.tracking.context import authorship
from taxi_nb.tracking.model_notes import LONGEST_REASON, ModelNotes, in_order

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

Kind = Literal["promotion", "by hand", "rollback", "outside"]

_MOVED = "moved"


@dataclass(frozen=True)
class Promotion:
    """One change of champion."""

    # ``"promotion"`` passed the gate, ``"by hand"`` is somebody's decision without it,
    # ``"outside"`` was done with other means, such as MLflow's pages, and noticed later.
    kind: Kind
    before: str | None  # The version that was champion, and the one that is now.
    after: str | None
    reason: str
    who: str
    at: str  # When it was decided, or noticed: UTC, in ISO 8601.
    commit: str | None = None
    run_id: str | None = None
    validation_digest: str | None = None
    # The gate's measurements: RMSE, margin and gain with its error over days, in minutes, and how
    # many candidates and days there were; those of older commits took trips for independent.
    numbers: Mapping[str, float] = field(default_factory=dict)
    number: int = 0  # Its place in the history, from 1.
    # ``"moved"`` once the alias followed; otherwise why it could not, or None until then.
    outcome: str | None = None

    @classmethod
    def now(cls, kind: Kind, before: str | None, after: str | None, **rest: Any) -> Promotion:
        """Make one of this moment, by whoever runs this process unless `rest` says otherwise."""
        author = authorship()
        rest = {"who": str(author["developer"]), "commit": author["commit"], **rest}
        if len(rest["reason"]) > LONGEST_REASON:
            rest["reason"] = f"{rest['reason'][: LONGEST_REASON - 1]}…"
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(kind=kind, before=before, after=after, at=at, **rest)

    @property
    def what(self) -> str:
        """Its kind, and whether the alias has followed."""
        if self.pending:
            return f"{self.kind} (the alias has not followed yet)"
        return self.kind if self.carried_out else f"{self.kind} ({self.outcome})"

    @property
    def pending(self) -> bool:
        """Whether it is decided and the alias has not followed yet."""
        return self.kind != "outside" and self.outcome is None

    @property
    def carried_out(self) -> bool:
        """Whether it holds; not if the alias could not follow."""
        return self.outcome in (None, _MOVED)


@dataclass(frozen=True)
class PromotionHistory:
    """All changes of champion of a registered model, oldest first, and who is champion now."""

    name: str
    promotions: tuple[Promotion, ...]
    champion: str | None

    @property
    def latest(self) -> Promotion | None:
        """The last one that holds."""
        return next((one for one in reversed(self.promotions) if one.carried_out), None)

    @property
    def remark(self) -> str | None:
        """A remark on a champion that the history does not explain; None if it does."""
        latest = self.latest
        expected = latest.after if latest else None
        if latest and latest.pending and self.champion != expected:
            return (
                f"number {latest.number} was interrupted: the alias still names "
                f"{_version(self.champion)}; the next promotion or rollback finishes it"
            )
        if self.champion == expected:
            return None
        return (
            f"the alias names {_version(self.champion)}, the history {_version(expected)}: it was "
            "moved outside taxi-nb; the next promotion or rollback notes it"
        )

    @property
    def succession(self) -> list[str]:
        """The versions that led to the last champion, which is at the end; rollbacks undone."""
        line: list[str] = []
        for promotion in self.promotions:
            version = promotion.after
            if not promotion.carried_out or version is None:
                continue
            if promotion.kind == "rollback" and version in line:
                while line[-1] != version:
                    line.pop()
            elif not line or line[-1] != version:
                line.append(version)
        return line

    def to_frame(self) -> pd.DataFrame:
        """Return it as a table: one row a promotion, oldest first, numbered from 1."""
        import pandas as pd

        columns = ["when (UTC)", "what", "from", "to", "by", "why"]
        rows = [
            [one.at, one.what, one.before or "", one.after or "", one.who, one.reason]
            for one in self.promotions
        ]
        index = pd.Index([one.number for one in self.promotions], name="number")
        return pd.DataFrame(rows, columns=columns, index=index)

    def _repr_html_(self) -> str:
        from html import escape

        remark = f"<p>Note: {escape(self.remark)}.</p>" if self.remark else ""
        return self.to_frame().to_html() + remark


def _version(version: str | None) -> str:
    return f"version {version}" if version else "no version"


class PromotionLog:
    """The history of a registered model in the store: it can be read and added to, nothing else."""

    def __init__(self, client: MlflowClient, name: str) -> None:
        self.client = client
        self.name = name
        self.notes = ModelNotes(client, name)

    def read(self) -> tuple[Promotion, ...]:
        """Return all promotions, oldest first."""
        params = self.notes.read()
        found = (from_plain(Promotion, json.loads(written)) for written in in_order(params))
        return tuple(
            replace(promotion, outcome=params.get(f"{promotion.number:05}.alias"))
            for promotion in found
        )

    def append(self, promotion: Promotion, after: Sequence[Promotion]) -> Promotion | None:
        """Add one as the successor of those read before; None if another process was first."""
        numbered = replace(promotion, number=len(after) + 1)
        return numbered if self.notes.add(numbered.number, numbered) else None

    def settle(self, number: int, outcome: str = _MOVED) -> None:
        """Note whether the alias followed; only the first such note counts."""
        self.notes.write(f"{number:05}.alias", outcome)
