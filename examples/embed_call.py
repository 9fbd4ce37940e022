"""Mount calls in your own aiohttp application: your routes and Salam's live side by side on one port.

Run it, then open http://localhost:8080/room/lobby in two tabs.
"""

import os

from aiohttp import web

from salam_server import Engine, Settings


async def hello(request: web.Request) -> web.Response:
    """Answer for a route of your own."""
    rooms = request.app[ENGINE].rooms()
    return web.json_response({"rooms": rooms})


ENGINE = web.AppKey("engine", Engine)


def make_app() -> web.Application:
    """Build the application; Salam starts and stops with it."""
    app = web.Application()
    media_port = int(os.environ.get("MEDIA_PORT", "40000"))
    app[ENGINE] = Engine(Settings(dev=True, live=False, media_port=media_port))
    app[ENGINE].mount(app)
    app.router.add_get("/mine/rooms", hello)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
