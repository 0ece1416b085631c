"""Who may ask, and what answers may load: a page on this machine that others must not reach.

A web site open in the same browser can send requests to loopback, and a name server can point a
name of its own there. So the ``Host`` must be a name that is served, an ``Origin`` our own, and
nobody is answered without the token: in the address that is printed, and from then on in a cookie.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data: blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What pages may load. Vega sets styles of its own; no script but ours runs, none is evaluated."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with `no-referrer` a form of ours has no origin
}
LONGEST = 60_000
"""Bytes of a query: an allele may have 45,000 bases."""


@dataclass(frozen=True)
class Door:
    """The names that are served on ``port``, and the token that opens.

    ``hosts`` are names and addresses without the port; ``everywhere``: any address in digits too,
    where the server listens on all of the machine's.
    """

    port: int
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    everywhere: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def cookie(self) -> str:
        """Its name: cookies of one host are shared by all of its ports."""
        return f"seal-store-{self.port}"

    def serves(self, host: str) -> bool:
        """Whether ``host``, as in a header, is one of the names."""
        name, _, port = host.lower().rpartition(":")
        if port != str(self.port):
            return False
        return name in self.hosts or (self.everywhere and _is_address(name))

    def is_known(self, given: str) -> bool:
        """Whether ``given`` is the token, in constant time."""
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def refusal(self, request: Request) -> str:
        """Why a request is not answered, in a sentence; empty if it is."""
        if not self.serves(request.headers.get("host", "")):
            return "This name is not served here: open the address that seal-store printed."
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site")
        own = origin is not None and origin.startswith("http://") and self.serves(origin[7:])
        if origin is not None and not own:
            return "Pages of other sites are not answered."
        if request.method not in ("GET", "HEAD") and not own and site != "same-origin":
            return "Only pages of this server may ask for that."
        if site in ("cross-site", "same-site") and request.headers.get("sec-fetch-mode") != (
            "navigate"
        ):
            return "Pages of other sites are not answered."
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class Guard:
    """An application behind a :class:`Door`, every answer with :data:`HEADERS`."""

    def __init__(self, app: App, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, pass on or refuse."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        own = self._own_answer(Request(scope))

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = HEADERS | (
                    {} if b"cache-control" in there else {"cache-control": "no-store"}
                )
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in more.items()),
                ]
            await send(message)

        await (own or self.app)(scope, receive, headed)

    def _own_answer(self, request: Request) -> Response | None:
        """A refusal, or the way in; None where the application answers."""
        door = self.door
        if why := door.refusal(request):
            return refusal(why)
        query = request.scope["query_string"]
        if len(query) > LONGEST:
            return refusal(f"The address is longer than {LONGEST:,} characters.", 414)
        given = request.query_params.get("token")
        if given is not None:
            if not door.is_known(given):
                return refusal("This token is not that of the running server: see its address.")
            rest = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True)
            kept = urlencode([pair for pair in rest if pair[0] != "token"])
            path = "/" + request.url.path.lstrip("/\\")  # never another host
            answer = RedirectResponse(f"{path}?{kept}" if kept else path, 303)
            answer.set_cookie(door.cookie, door.token, httponly=True, samesite="strict", path="/")
            return answer
        if not door.is_known(request.cookies.get(door.cookie, "")):
            return refusal("Open the address that seal-store printed: it holds a token.")
        return None


def refusal(why: str, status: int = 403) -> Response:
    """A page of one sentence."""
    page = (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Not answered</title>"
        "<link rel='icon' href='data:,'></head>"
        f"<body><main><h1>Not answered</h1><p>{escape(why)}</p></main></body></html>"
    )
    return Response(page, status, media_type="text/html")
