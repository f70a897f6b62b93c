"""Addresses of registered models: ``models:/name/3`` and ``models:/name@alias``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_FORM = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<version>\d+)|@(?P<alias>.+))")

# The error codes by which stores say that a model, version, alias or run is not there.
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class ModelAddress:
    """A registered model, and which version of it: by number or by alias.

    >>> ModelAddress.parse("models:/fares@champion")
    ModelAddress(name='fares', version=None, alias='champion')
    >>> str(ModelAddress("fares", version="3"))
    'models:/fares/3'
    >>> ModelAddress("fares", version="3").title
    'fares, version 3'
    """

    name: str
    version: str | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read an address; None if it names no version of a registered model."""
        found = _FORM.fullmatch(text)
        return cls(**found.groupdict()) if found else None

    @classmethod
    def of(cls, version: ModelVersion) -> Self:
        """Return the address of a version, by its number."""
        return cls(version.name, version=str(version.version))

    def __str__(self) -> str:
        return f"models:/{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")

    @property
    def title(self) -> str:
        """How people call the version."""
        return f"{self.name}, version {self.version}"

    def look_up(self, client: MlflowClient) -> ModelVersion:
        """Return the version that it names; MLflow's error says if there is none."""
        if self.alias:
            return client.get_model_version_by_alias(self.name, self.alias)
        return client.get_model_version(self.name, str(self.version))

    def find(self, client: MlflowClient) -> ModelVersion | None:
        """Return the version that it names; None if it is not there."""
        from mlflow.exceptions import MlflowException

        try:
            return self.look_up(client)
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                return None
            raise


def model_version(client: MlflowClient, address: str) -> ModelVersion | None:
    """Return the version that an address names; None if it is not there."""
    parsed = ModelAddress.parse(address)
    return parsed.find(client) if parsed else None
