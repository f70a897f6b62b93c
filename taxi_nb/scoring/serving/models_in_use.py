"""Who answers: the champion as it is now, and the challenger where one is tried beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from taxi_nb.scoring.serving._served_model import ServedModel, load_served
from taxi_nb.tracking.names import CHAMPION
from taxi_nb.trips.errors import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

# How often the registry is asked who is champion.
SECONDS = 2.0
# When a model that could not be loaded is tried again: its store may have been away.
_AGAIN_SECONDS = 30.0


class Registry(Protocol):
    """What has to be known of a registered model."""

    name: str
    client: MlflowClient

    def version_of(self, alias: str) -> str | None:
        """Return the version that an alias names; None if there is none."""

    def usable(self, version: str) -> ModelVersion:
        """Return a version whose files are those that were registered; else `RegistryError`."""


class ModelsInUse:
    """The loaded champion, and the challenger if it is asked for.

    Each `look` asks the registry. Another champion is loaded beside the one that answers,
    tried on its own input example, and takes over between two requests. One that cannot be loaded
    leaves the old one where it is, and is said once.

    Raises
    ------
    RegistryError, ModelError
        At the start, if there is no champion that can answer.
    """

    def __init__(
        self, registry: Registry, say: Callable[[str], None], challenger_alias: str | None = None
    ) -> None:
        self._registry, self._say = registry, say
        self._challenger_alias = challenger_alias
        # By alias: the version that could not be used, and when that was found.
        self._refused: dict[str, tuple[str, float]] = {}
        self.failures = 0  # How often a model could not be loaded.
        self.challenger: ServedModel | None = None
        self.champion = self._load(registry.version_of(CHAMPION) or "")
        self._follow_challenger()

    def look(self) -> None:
        """Ask the registry once, and load what is new."""
        now = self._registry.version_of(CHAMPION)
        if now is None:
            self._refuse(CHAMPION, "", "there is no champion any more")
        elif now == self.champion.version:
            self._refused.pop(CHAMPION, None)
        else:
            known = self.challenger
            found = known if known and known.version == now else self._tried(CHAMPION, now)
            if found:
                self.champion = found
                self._say(f"version {now} answers from now on")
        self._follow_challenger()

    def goes_on(self) -> str:
        """Say that the champion answers as before."""
        return f"version {self.champion.version} goes on"

    def _follow_challenger(self) -> None:
        if self._challenger_alias is None:
            return
        now = self._registry.version_of(self._challenger_alias)
        # What is champion already has nobody to be compared with.
        if now is None or now == self.champion.version:
            self.challenger = None
        elif self.challenger is None or now != self.challenger.version:
            self.challenger = self._tried(self._challenger_alias, now)
            if self.challenger:
                self._say(f"version {now} is tried as challenger")

    def _tried(self, role: str, version: str) -> ServedModel | None:
        before, at = self._refused.get(role, ("", 0.0))
        if before == version and time.monotonic() - at < _AGAIN_SECONDS:
            return None
        try:
            return self._load(version)
        except Exception as error:  # A model carries code of its own, which may raise anything.
            self.failures += 1
            self._refuse(
                role, version, f"version {version}, now {role}, cannot be used: {one_line(error)}"
            )
            return None

    def _refuse(self, role: str, version: str, reason: str) -> None:
        if self._refused.get(role, ("-", 0.0))[0] != version:
            self._say(f"{reason}; {self.goes_on()}")
        self._refused[role] = (version, time.monotonic())

    def _load(self, version: str) -> ServedModel:
        return load_served(self._registry.client, self._registry.usable(version))
