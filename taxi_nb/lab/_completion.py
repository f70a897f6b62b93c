"""Completion of the names of models, where one is to be written."""

from __future__ import annotations

import re
from typing import Any

# The first argument of `train` or `make_model`, or a parameters cell's.
_WANTED = re.compile(
    r"""(?:\b(?:train|make_model)\(\s*(?:model\s*=\s*)?|\bmodel\s*:\s*ModelName\s*=\s*)
    (?P<quote>["'])(?P<begun>[\w-]*)\Z""",
    re.VERBOSE,
)


def complete_model(context: Any) -> dict[str, Any]:
    """Offer the names in `MODELS`, as IPython asks a matcher of its second version."""
    from IPython.core.completer import SimpleCompletion

    text = context.full_text[: _position(context)]
    found = _WANTED.search(text)
    if found is None:
        return {"completions": []}
    from taxi_nb.models.specs import MODELS

    names = [name for name in MODELS if name.startswith(found["begun"])]
    return {
        "completions": [SimpleCompletion(text=name, type="model") for name in names],
        "matched_fragment": found["begun"],
        # Files by that name are not meant.
        "suppress": bool(names),
    }


complete_model.matcher_api_version = 2  # type: ignore[attr-defined]


def _position(context: Any) -> int:
    """Return where the cursor is in the whole text, not in its line."""
    lines = context.full_text.split("\n")[: context.cursor_line]
    return sum(len(line) + 1 for line in lines) + int(context.cursor_position)
