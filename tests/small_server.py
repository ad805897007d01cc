"""A real HTTP server that answers as a test says, for what a real service does only on its bad days."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Answer = web.StreamResponse | Awaitable[web.StreamResponse]


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Answer]) -> AsyncIterator[str]:
    """Serve every path with one function as long as the context is open; gives the address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        answered = answer(request)
        return await answered if inspect.isawaitable(answered) else answered

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
