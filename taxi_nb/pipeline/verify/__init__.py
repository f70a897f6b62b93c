"""Executes a recorded run again, elsewhere, and compares all that it showed and measured."""

from taxi_nb.pipeline.verify.verification import (
    StepVerdict,
    Verification,
    VerificationError,
    verify_run,
)

__all__ = ["StepVerdict", "Verification", "VerificationError", "verify_run"]
