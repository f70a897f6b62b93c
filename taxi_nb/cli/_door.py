"""A door on this machine that opens for whoever has its token.

Every user of a machine reaches what listens on its loopback address. So a server of ours asks
for a token, which only those see who see its output: a browser brings it once, in the printed
address, and a cookie afterwards; a program sends it as ``Authorization: Bearer TOKEN``, which
MLflow's clients do where ``MLFLOW_TRACKING_TOKEN`` is set.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl, urlencode

import typer

from taxi_nb.cli._stopping import USAGE, say, stop
from taxi_nb.project import make_targets, project_root

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - not the default
TOKEN_VARIABLE = "TAXI_NB_TOKEN"  # noqa: S105 - its name
_SHORTEST_TOKEN = 16
# A page in a browser may also come by another port, through a tunnel; never by another name,
# which somebody else could let point here.
_OUR_NAMES = (HOST, "localhost")
_OPEN_TO_ALL = ("/ping", "/health")
_MOST_REQUESTS = 64

# Whether a request, once its sender is known, is refused nevertheless: why, or None.
Rule = Callable[[str, str], str | None]


# A container's loopback address is nobody else's, so it has to listen at another.
Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="At which address: 0.0.0.0 in a container.")
]


def reserve(port: int, what: str, host: str = HOST) -> socket.socket:
    """Take a port before anything slow begins, or stop and say that another has it."""
    # Named as TCP's: only then asyncio sends answers at once, and not 40 ms later, when whoever
    # asked has acknowledged their first half.
    taken = socket.socket(proto=socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except OSError as error:
        if host != HOST and error.errno != errno.EADDRINUSE:
            stop(f"--host {host}: {error.strerror}. Give an address of this machine", USAGE)
        reason = f"port {port}: {error.strerror}"
        make = f", or make {what} PORT=" if what in make_targets(project_root()) else ""
        stop(f"{reason}. Give another: --port{make}", USAGE)
    return taken


def keep_open(
    app: ASGIApp,
    place: socket.socket,
    path: str,
    greeting: str,
    refuses: Rule | None = None,
    most_requests: int = _MOST_REQUESTS,
) -> None:
    """Serve until a signal; say `greeting` and the address with `path` when it answers."""
    import uvicorn

    given = os.environ.pop(TOKEN_VARIABLE, None)
    if given is not None and (len(given) < _SHORTEST_TOKEN or not given.isascii()):
        stop(f"{TOKEN_VARIABLE} must have {_SHORTEST_TOKEN} plain characters or more", USAGE)
    token = given or secrets.token_urlsafe(24)
    host, port = place.getsockname()
    # Where its port is published a container is 127.0.0.1 to people, its own name to its peers.
    names = _OUR_NAMES if host == HOST else (*_OUR_NAMES, host, socket.gethostname())
    path, _, place_in_page = path.partition("#")
    place_in_page = place_in_page and f"#{place_in_page}"
    address = f"http://{HOST if host == EVERYWHERE else host}:{port}{path}"
    shown = f"{address}{place_in_page} (token: {TOKEN_VARIABLE})"
    shown = shown if given else f"{address}?token={token}{place_in_page}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                say(f"{greeting} at {shown}")

    door = Door(app, token, f"taxi_nb_{port}", refuses or (lambda method, path: None), names)
    # Neither addresses, which may hold the token, nor what is asked for is printed.
    config = uvicorn.Config(
        door,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=most_requests,
        timeout_graceful_shutdown=5,
    )
    try:
        Server(config).run(sockets=[place])
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


class Door:
    """An application that only answers whoever has the token."""

    def __init__(
        self, app: ASGIApp, token: str, cookie: str, refuses: Rule, names: Sequence[str]
    ) -> None:
        self.app, self.token, self.cookie, self.refuses = app, token, cookie, refuses
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that it is refused."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        from starlette.requests import Request

        answer: Any = self._refusal(Request(scope)) or self.app
        return await answer(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host, path = request.headers.get("host", ""), request.url.path
        if host.rpartition(":")[0] not in self.names and host not in self.names:
            return _told(403, f"this is a server of {HOST}, not of {host[:100]!r}")
        if request.headers.get("origin", f"http://{host}") != f"http://{host}":
            return _told(403, "pages from elsewhere may not ask")
        if path in _OPEN_TO_ALL and request.method in ("GET", "HEAD"):
            return None
        if self._is(request.query_params.get("token", "")):
            if request.method == "GET":
                return self._cookie_given(request)
        elif not self._is(self._brought(request)):
            return _told(
                401,
                "a token is needed: open the address that the server printed when it started, or "
                "send the header Authorization: Bearer TOKEN",
            )
        reason = self.refuses(request.method, path)
        return _told(403, reason) if reason else None

    def _is(self, token: str) -> bool:
        return secrets.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def _brought(self, request: Request) -> str:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return token.strip()
        try:
            brought = SimpleCookie(request.headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return brought.value if brought else ""

    def _cookie_given(self, request: Request) -> Response:
        """Send a browser to the same place without the token, which it brings in a cookie now."""
        from starlette.responses import RedirectResponse

        query = urlencode([one for one in parse_qsl(request.url.query) if one[0] != "token"])
        # Not `//name`, which would be another server's address.
        place = "/" + request.url.path.lstrip("/") + (f"?{query}" if query else "")
        answer = RedirectResponse(place, 303, {"Referrer-Policy": "no-referrer"})
        # Lax: a link from a run's page, which is a file, is to lead to MLflow's.
        answer.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
        return answer


def _told(status: int, reason: str) -> Response:
    from starlette.responses import JSONResponse

    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    code = "UNAUTHENTICATED" if status == 401 else "PERMISSION_DENIED"
    return JSONResponse({"error_code": code, "message": reason}, status, headers)
