"""Mount livestreaming in your own aiohttp application: RTMP in, HLS out, and a page of your own around it.

Run it, publish with ``ffmpeg -re -i film.mp4 -c:v libx264 -c:a aac -f flv rtmp://localhost:1935/live/film``, then open
http://localhost:8080/watch/film, or play http://localhost:8080/live/film/index.m3u8 in any HLS player.
"""

import os
from pathlib import Path

from aiohttp import web

from salam_server import Engine, Settings

ENGINE = web.AppKey("engine", Engine)


async def now_playing(request: web.Request) -> web.Response:
    """Answer for a route of your own."""
    return web.json_response([item["stream"] for item in request.app[ENGINE].streams() if item["state"] == "live"])


def make_app() -> web.Application:
    """Build the application; Salam starts and stops with it."""
    app = web.Application()
    rtmp_port = int(os.environ.get("RTMP_PORT", "1935"))
    data_dir = Path(os.environ.get("DATA_DIR", ".salam"))
    app[ENGINE] = Engine(Settings(dev=True, calls=False, rtmp_port=rtmp_port, data_dir=data_dir))
    app[ENGINE].mount(app)
    app.router.add_get("/mine/now-playing", now_playing)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
