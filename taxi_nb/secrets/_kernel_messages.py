"""A kernel whose messages hold no known secret: outputs, errors, replies."""

from __future__ import annotations

import sys
from functools import cache, wraps
from typing import Any

from taxi_nb.secrets.known import KNOWN


def hide_secrets_in_messages() -> None:
    """Look through what the kernel that this code runs in sends; do nothing in a script."""
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython

    session = getattr(getattr(get_ipython(), "kernel", None), "session", None)
    if session is not None:
        _hide_in_session(session)


@cache
def _hide_in_session(session: Any) -> None:
    send = session.send

    @wraps(send)
    def send_hidden(
        stream: Any, msg_or_type: Any, content: Any = None, *rest: Any, **named: Any
    ) -> Any:
        if isinstance(msg_or_type, dict):
            msg_or_type = {**msg_or_type, "content": KNOWN.hide_in(msg_or_type.get("content"))}
        return send(stream, msg_or_type, KNOWN.hide_in(content), *rest, **named)

    session.send = send_hidden
