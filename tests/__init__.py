"""Tests."""

import sys

# As `taxi-nb` does: nbformat would have a parser built, for seconds, that no notebook needs.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
