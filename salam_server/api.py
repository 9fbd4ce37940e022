"""The HTTP API: what pages and operators ask outside the WebSocket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web as http

import salam
from salam import AuthError, NotFoundError, ProtocolError, SalamError
from signaling import Grants

if TYPE_CHECKING:
    from salam_server.engine import Engine

__all__ = ["api_routes", "error_middleware"]

# A development token is for the page that asks for it; a day outlives every demo and no token is kept for good.
_DEV_TOKEN_TTL_S = 86_400

_STATUS: list[tuple[type[SalamError], int]] = [
    (AuthError, 401),
    (NotFoundError, 404),
    (ProtocolError, 400),
    (salam.ConflictError, 409),
    (salam.LimitError, 429),
    (salam.RequestError, 400),
    (salam.ClosedError, 503),
]


class _TokenRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    identity: str = "developer"
    room: str = "*"
    stream: str = "*"
    publish: bool = True
    subscribe: bool = True
    moderate: bool = True


def api_routes(engine: Engine) -> list[http.RouteDef]:
    """Return the routes of the API of ``engine``."""
    api = _Api(engine)
    routes = [
        http.get("/api/v1/server", api.server),
        http.get("/api/v1/streams", api.streams),
        http.get("/healthz", api.healthz),
        http.get("/readyz", api.readyz),
        http.get("/metrics", api.metrics),
    ]
    if engine.settings.dev:
        routes += [http.get("/api/v1/rooms", api.rooms), http.post("/dev/token", api.dev_token)]
    return routes


@http.middleware
async def error_middleware(request: http.Request, handler: Any) -> http.StreamResponse:
    """Turn our errors into JSON answers with their stable code; others stay what they are."""
    try:
        response: http.StreamResponse = await handler(request)
        return response
    except SalamError as error:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        return http.json_response({"error": {"code": error.code, "message": error.message}}, status=status)


class _Api:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def server(self, request: http.Request) -> http.Response:
        settings = self._engine.settings
        return http.json_response(
            {
                "name": settings.server_name,
                "version": salam.__version__,
                "dev": settings.dev,
                "token_required": not settings.dev,
                "hostname": request.url.host or "",
                "media_port": self._engine.media_port,
                "rtmp_port": self._engine.rtmp_port,
                "calls": settings.calls,
                "live": settings.live,
            }
        )

    async def streams(self, request: http.Request) -> http.Response:
        return http.json_response(self._engine.streams())

    async def rooms(self, request: http.Request) -> http.Response:
        return http.json_response(self._engine.rooms())

    async def dev_token(self, request: http.Request) -> http.Response:
        body = await request.read()
        try:
            wanted = msgspec.json.decode(body or b"{}", type=_TokenRequest)
        except msgspec.DecodeError as error:
            raise ProtocolError(f"the body is not a token request: {error}") from None
        grants = Grants(
            identity=wanted.identity,
            room=wanted.room or None,
            publish=wanted.publish,
            subscribe=wanted.subscribe,
            moderate=wanted.moderate,
            stream=wanted.stream or None,
        )
        token = self._engine.mint_token(grants, ttl_s=_DEV_TOKEN_TTL_S)
        return http.json_response({"token": token, "expires_in_s": _DEV_TOKEN_TTL_S})

    async def healthz(self, request: http.Request) -> http.Response:
        return http.Response(text="ok\n")

    async def readyz(self, request: http.Request) -> http.Response:
        if self._engine.ready:
            return http.Response(text="ready\n")
        return http.Response(status=503, text="starting or draining\n")

    async def metrics(self, request: http.Request) -> http.Response:
        return http.Response(
            body=self._engine.metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )


def dump_json(value: object) -> str:
    """Return ``value`` as the one JSON object that a command prints with ``--json``."""
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
