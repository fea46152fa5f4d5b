"""The sandbox server: builds its parts, listens on loopback, stops at once.

Owns the life cycle of the server and the mapping from routes to handlers. Must not hold any logic of a request.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Literal, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from tracker.sandbox.admin import add_admin_routes, describe_state
from tracker.sandbox.callbacks import CallbackSender
from tracker.sandbox.chaos import Chaos
from tracker.sandbox.creates import Creates
from tracker.sandbox.declared import PlayedProvider
from tracker.sandbox.dice import Dice
from tracker.sandbox.families.registry import check_routes, list_routes
from tracker.sandbox.files import PATH, OutputFiles
from tracker.sandbox.gateway import Gateway
from tracker.sandbox.interpreter import DataJobRoute
from tracker.sandbox.jobs import JobTable
from tracker.sandbox.journal import Journal, OnEvent
from tracker.sandbox.polls import Polls
from tracker.sandbox.routes import Context, PaidRoute, ReadRoute, Route
from tracker.sandbox.signatures import check_secrets
from tracker.sandbox.wire import Json, gateway_error

DEFAULT_KEY = "sk-sandbox-not-a-real-key"

_MAX_BODY_BYTES = 32 * 2**20
_KEEPALIVE_S = 15.0
_SHUTDOWN_S = 0.5
"""How long requests may take to end once the sandbox stops; those that hang are let go at once."""


class Sandbox:
    """An embedded gateway that behaves like the real one, on loopback only.

    Usable as an async context manager, which starts it on a free port. It may be started again after
    ``stop``: jobs and records stay, so that an outage can be played.

    Args:
        key: The API key it accepts.
        seed: Decides all that is random.
        duration_s: How long a job takes without a duration directive, seconds.
        url_ttl_s: How long an output URL is valid, seconds.
        chaos: What goes wrong, and how often; nothing by default.
        suno_callbacks: ``bare``, the shape AnyInt documents, or ``wrapped``, the upstream's.
        suno_secret: Signs Suno callbacks as kie.ai does; unsigned by default.
        kling_secret: Signs Kling callbacks as Standard Webhooks, ``whsec_`` and base64; unsigned by default.
        openai_webhook_url: Where the events of OpenAI-style video go; by default none are sent.
        openai_webhook_secret: Signs these events as Standard Webhooks; unsigned by default.
        callback_retry_s: Pause before a failed callback is tried again, seconds.
        callback_timeout_s: How long a receiver of callbacks may take, seconds.
        on_event: Called with a dotted past fact and its fields, for printing; must not raise.
        routes: What it serves; the routes of all registered families by default.
        providers: Declared providers that it serves, too.
        provider_secrets: Signs their callbacks, by provider; unsigned by default.

    Raises:
        ValueError: A duration below 0, a secret that is not base64, or routes that cannot be served together.
    """

    def __init__(
        self,
        *,
        key: str = DEFAULT_KEY,
        seed: int = 1,
        duration_s: float = 4.0,
        url_ttl_s: float = 3600.0,
        chaos: Chaos | None = None,
        suno_callbacks: Literal["bare", "wrapped"] = "bare",
        suno_secret: str | None = None,
        kling_secret: str | None = None,
        openai_webhook_url: str | None = None,
        openai_webhook_secret: str | None = None,
        callback_retry_s: float = 0.5,
        callback_timeout_s: float = 15.0,
        on_event: OnEvent | None = None,
        routes: Sequence[Route] | None = None,
        providers: Sequence[PlayedProvider] = (),
        provider_secrets: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if min(duration_s, url_ttl_s, callback_retry_s, callback_timeout_s) < 0:
            raise ValueError("durations must not be negative")
        played = [route for provider in providers for route in provider.routes]
        self._routes = (*(list_routes() if routes is None else routes), *played)
        check_routes(self._routes)
        self._first_chaos = chaos or Chaos()
        journal = Journal(on_event)
        dice = Dice(seed)
        self._gateway = Gateway(
            key=key,
            duration_s=duration_s,
            chaos=self._first_chaos,
            context=Context(
                jobs=JobTable(),
                files=OutputFiles(dice, url_ttl_s, journal),
                dice=dice,
                suno_callbacks=suno_callbacks,
                secrets={
                    **check_secrets({"kling": kling_secret, "openai": openai_webhook_secret}, {"suno": suno_secret}),
                    **provider_secrets,
                },
                openai_webhook_url=openai_webhook_url,
            ),
            journal=journal,
            sender=CallbackSender(journal, retry_s=callback_retry_s, timeout_s=callback_timeout_s),
        )
        self._creates = Creates(self._gateway)
        self._polls = Polls(self._gateway)
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:40123``; empty before the first start."""
        return self._gateway.context.files.base_url

    @property
    def key(self) -> str:
        """The API key it accepts."""
        return self._gateway.key

    @property
    def chaos(self) -> Chaos:
        """What goes wrong from now on; may be replaced."""
        return self._gateway.chaos

    @chaos.setter
    def chaos(self, chaos: Chaos) -> None:
        self._gateway.chaos = chaos

    def state(self) -> Json:
        """Return what ``GET /sandbox/state`` answers."""
        return describe_state(self._gateway)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen.

        Args:
            host: A loopback address or ``localhost``.
            port: 0 for any free port.

        Raises:
            ValueError: The host is not loopback.
            RuntimeError: It is running already.
            OSError: The port is taken.
        """
        if not _is_loopback_host(host):
            raise ValueError(f"the sandbox listens on loopback only (127.0.0.1, ::1, localhost), not {host!r}")
        if self._runner is not None:
            raise RuntimeError("the sandbox is running already")
        self._gateway.closing.clear()
        runner = web.AppRunner(
            self._build_app(), access_log=None, keepalive_timeout=_KEEPALIVE_S, shutdown_timeout=_SHUTDOWN_S
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        bound_host, bound_port = runner.addresses[0][:2]
        name = f"[{bound_host}]" if ":" in bound_host else bound_host
        self._gateway.context.files.base_url = f"http://{name}:{bound_port}"
        await self._gateway.sender.open()
        self._runner = runner
        self._gateway.journal.emit("sandbox.started", base_url=self.base_url)

    async def stop(self) -> None:
        """Stop at once: close hanging connections and cancel pending callbacks."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self._gateway.closing.set()
        await self._gateway.sender.close()
        await runner.cleanup()
        self._gateway.journal.emit("sandbox.stopped")

    async def reset(self) -> None:
        """Clear all state and restore the first chaos."""
        await self._gateway.reset(self._first_chaos)
        self._creates.reset()
        self._polls.reset()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _build_app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_answer_in_gateway_shape])
        add_admin_routes(app, self._gateway, self.reset)
        app.router.add_get(PATH, self._gateway.context.files.serve)
        self._add_gateway_routes(app, self._routes)
        return app

    def _add_gateway_routes(self, app: web.Application, routes: Sequence[Route]) -> None:
        queries: dict[tuple[str, str], dict[str, DataJobRoute]] = defaultdict(dict)
        for route in routes:
            if isinstance(route, PaidRoute):
                app.router.add_post(route.path, partial(self._creates.serve, route))
            if isinstance(route, DataJobRoute):
                queries[route.query_method, route.query_path][route.name] = route
            if isinstance(route, ReadRoute):
                app.router.add_route(route.method, route.path, partial(self._polls.read, route))
        for (method, path), sharing in queries.items():
            app.router.add_route(method, path, partial(self._polls.poll, path, sharing))


def _is_loopback_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def _answer_in_gateway_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give aiohttp's own refusals (404, 405, 413) the gateway's error shape."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        answer = gateway_error(error.status, error.reason, "invalid_request_error", f"http_{error.status}")
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)
