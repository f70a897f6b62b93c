"""A protected champion: a version needs somebody's sign-off before it may take the alias.

Protections and sign-offs are notes of the model beside its promotions, numbered and written once,
so that nobody rewrites them through MLflow. A sign-off is for a version's files, by their digest.
Who signs is stated: nothing asks whether it is true, so it is evidence of a decision and no lock
against those who can write to the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from taxi_nb.plain_data import from_plain
from taxi_nb.registry.versions import DEFAULT_NAME, RegistryError, registry_client, usable
from taxi_nb.tracking.context import authorship
from taxi_nb.tracking.model_files import digest_of, noted_files
from taxi_nb.tracking.model_notes import APPROVALS, LONGEST_REASON, ModelNotes, in_order
from taxi_nb.tracking.names import CHAMPION
from taxi_nb.tracking.run_reviews import missing_review
from taxi_nb.trips.arguments import require

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_LONGEST_NAME = 200

Kind = Literal["protected", "unprotected", "signed off", "withdrawn"]


@dataclass(frozen=True)
class Approval:
    """A protection that begins or ends, or a version's sign-off that is given or taken back."""

    kind: Kind
    by: str  # As stated.
    reason: str
    who: str  # Whoever ran the command, as `taxi-nb` knows developers.
    at: str  # UTC, in ISO 8601.
    commit: str | None = None
    version: str | None = None
    files: str | None = None  # The digest of the version's files.
    number: int = 0  # Its place among them, from 1.

    def __str__(self) -> str:
        return f"{self.kind} by {self.by}, {self.at}: {self.reason}"


@dataclass(frozen=True)
class Approvals:
    """All of a registered model's, oldest first."""

    name: str
    all: tuple[Approval, ...]

    @property
    def protection(self) -> Approval | None:
        """What protects the champion; None if nothing does."""
        about = (one for one in reversed(self.all) if one.version is None)
        latest = next(about, None)
        return latest if latest and latest.kind == "protected" else None

    def of(self, version: str) -> tuple[Approval, ...]:
        """Return the sign-offs of a version that hold, oldest first: the last of each person."""
        latest: dict[str, Approval] = {}
        for one in self.all:
            if one.version == version:
                latest[one.by] = one
        return tuple(one for one in latest.values() if one.kind == "signed off")

    def missing(self, version: ModelVersion) -> str | None:
        """Say what a version needs before it may be champion; None if nothing."""
        if self.protection is None:
            return None
        number, files = str(version.version), noted_files(registry_client(), version)
        signed = self.of(number)
        if files and any(one.files == digest_of(files) for one in signed):
            return None
        other = ", its sign-off is for other files" if signed else ""
        return (
            f"the champion of {self.name} is protected by {self.protection.by}{other}: `taxi-nb "
            f"registry sign-off {number} --by NAME --reason WHY --name {self.name}`, and then "
            f"`taxi-nb registry promote {number} --reason WHY --name {self.name}`"
        )


class ApprovalLog:
    """The approvals of a registered model in the store: they can be read and added to."""

    def __init__(self, client: MlflowClient, name: str) -> None:
        self.notes = ModelNotes(client, name)

    def read(self) -> Approvals:
        """Return all of them."""
        written = in_order(self.notes.read(), APPROVALS)
        found = (from_plain(Approval, json.loads(one)) for one in written)
        return Approvals(self.notes.name, tuple(found))

    def append(self, approval: Approval, after: Approvals) -> Approval | None:
        """Add one as the successor of those read before; None if another process was first."""
        numbered = replace(approval, number=len(after.all) + 1)
        return numbered if self.notes.add(numbered.number, numbered, APPROVALS) else None


def missing_agreement(
    client: MlflowClient, version: ModelVersion, run_id: str | None = None
) -> str | None:
    """Say whose agreement a version needs before it may be champion; None if nobody's.

    Where the pipeline file says ``review: required`` the run that trained it has to be approved,
    and the run that `run_id`, which promotes, was made in.
    """
    if missing := ApprovalLog(client, version.name).read().missing(version):
        return missing
    for made_by in filter(None, (version.run_id, run_id)):
        if (run := missing_review(client, str(made_by))) is not None:
            number = version.version
            return (
                f"the run that made it has to be approved: `taxi-nb review {run} --approve -m WHY`,"
                f" and then `taxi-nb registry promote {number} --reason WHY --name {version.name}`"
            )
    return None


def approvals(name: str = DEFAULT_NAME) -> Approvals:
    """Return who has protected the champion, and who has signed off which version."""
    return ApprovalLog(registry_client(), name).read()


def protect(
    *, by: str, reason: str, name: str = DEFAULT_NAME, alias: str = CHAMPION, off: bool = False
) -> Approval:
    """Let the champion need a sign-off from now on, or with `off` no longer.

    `RegistryError` if it is so already, or the alias is another: nothing here moves those.
    """
    if alias != CHAMPION:
        raise RegistryError(
            f"only {CHAMPION} can be protected, the one alias that taxi-nb lets people load: "
            f"nothing would ask for a sign-off before {alias!r} moves"
        )
    made = _made("unprotected" if off else "protected", by, reason)

    def checked(before: Approvals) -> Approval:
        if off and before.protection is None:
            raise RegistryError(f"the champion of {name} is not protected")
        if not off and before.protection is not None:
            raise RegistryError(f"the champion of {name} is protected already, {before.protection}")
        return made

    return _added(ApprovalLog(registry_client(), name), checked)


def sign_off(
    version: str, *, by: str, reason: str, name: str = DEFAULT_NAME, withdraw: bool = False
) -> Approval:
    """State that a version may be champion, or with `withdraw` that it may not after all.

    `RegistryError` if it cannot be used, or the person has said so already.
    """
    client = registry_client()
    found = usable(name, version, as_it_is=True)
    files = digest_of(noted_files(client, found) or {})
    made = _made("withdrawn" if withdraw else "signed off", by, reason)
    made = replace(made, version=str(found.version), files=files)

    def checked(before: Approvals) -> Approval:
        own = [one for one in before.of(str(version)) if one.by == made.by]
        if withdraw and not own:
            raise RegistryError(f"{made.by} has not signed off {name} version {version}")
        if not withdraw and any(one.files == files for one in own):
            raise RegistryError(f"{name} version {version} is signed off already: {own[0]}")
        return made

    return _added(ApprovalLog(client, name), checked)


def _added(log: ApprovalLog, checked: Callable[[Approvals], Approval]) -> Approval:
    while True:
        before = log.read()
        made = log.append(checked(before), before)
        if made is not None:
            return made


def _made(kind: Kind, by: str, reason: str) -> Approval:
    by, reason = " ".join(by.split()), reason.strip()
    for name, value, most in (("by", by, _LONGEST_NAME), ("reason", reason, LONGEST_REASON)):
        require(0 < len(value) <= most, name, value[:50], f"have 1 to {most:,} characters")
    author = authorship()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Approval(kind, by, reason, str(author["developer"]), at, author["commit"])
