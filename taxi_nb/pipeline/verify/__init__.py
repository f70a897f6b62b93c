"""Executes a recorded run again, elsewhere, and compares all that it showed and measured."""

from taxi_nb.pipeline.verify.comparison import Execution, StepVerdict, compare_executions
from taxi_nb.pipeline.verify.execution import VerificationError
from taxi_nb.pipeline.verify.verification import Verification, verify_run

__all__ = [
    "Execution",
    "StepVerdict",
    "Verification",
    "VerificationError",
    "compare_executions",
    "verify_run",
]
