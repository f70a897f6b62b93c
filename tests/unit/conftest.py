"""What unit tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE_THE_PROJECT = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(scope="session")
def real_months() -> str:
    """The folder of the TLC's months."""
    folder = Path(os.environ.get("TAXI_NB_TEST_DATA", BESIDE_THE_PROJECT)).resolve()
    if not (folder / "green_tripdata_2021-01.parquet").exists():
        pytest.skip(f"no real months in {folder}; TAXI_NB_TEST_DATA can name another folder")
    return str(folder)
