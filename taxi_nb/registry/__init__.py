"""Model versions and which one people should use: gate, history, rollback, model cards."""

from taxi_nb.registry.card import model_card
from taxi_nb.registry.gate import PromotionDecision
from taxi_nb.registry.history import Promotion, PromotionHistory
from taxi_nb.registry.promotion import promote, promote_if_better, promotion_history, rollback
from taxi_nb.registry.versions import (
    CHALLENGER,
    DEFAULT_NAME,
    RegisteredVersion,
    RegistryError,
    champion,
    registered_versions,
    usable,
)

__all__ = [
    "CHALLENGER",
    "DEFAULT_NAME",
    "Promotion",
    "PromotionDecision",
    "PromotionHistory",
    "RegisteredVersion",
    "RegistryError",
    "champion",
    "model_card",
    "promote",
    "promote_if_better",
    "promotion_history",
    "registered_versions",
    "rollback",
    "usable",
]
