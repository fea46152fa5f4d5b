"""Tokens with scopes: every call is checked, and says who acts."""

import json
from pathlib import Path

import pytest

from tests.kits.logs import captured_logs
from tests.kits.server import ServerWorld, problem_of
from tracker.domain.records import Json
from tracker.domain.scopes import ApiToken, Scope
from tracker.server.operations import OPERATIONS
from tracker.server.responses import OPENAPI_PATH
from tracker.server.streams import CHECK_TOKEN_S

OWN = "token-of-the-api-not-real"
TOKENS = [
    ApiToken("grafana", Scope.READ, "token-that-reads-not-real"),
    ApiToken("studio", Scope.SUBMIT, "token-that-submits-not-real"),
    ApiToken("ops", Scope.ADMIN, "token-of-operators-not-real"),
]
READ, STUDIO, OPS = TOKENS
OPEN = {"/callbacks/{provider}/{token}", "/callbacks/{provider}", "/healthz", "/readyz"}
"""What providers and health checks call: no token is required."""
SUBMITS = {
    "/v1/tasks",
    *(f"/v1/tasks/{{id}}/{action}" for action in ("poll", "cancel", "resubmit", "adopt", "archive")),
}


def bearer(token: ApiToken | str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token if isinstance(token, str) else token.value}"}


def expected_scope(method: str, path: str) -> str:
    """What a call of the description must need."""
    if method == "GET":
        return "read"
    return "submit" if path in SUBMITS else "admin"


async def test_every_route_needs_a_scope(tmp_path: Path) -> None:
    """Each route of the served description: 401 without a token, 403 for one that allows less, else it is handled."""
    async with ServerWorld(tmp_path, api_token=OWN, tokens=TOKENS) as world:
        async with world.client.get(OPENAPI_PATH) as response:
            document: Json = await response.json()
        routes = [(path, m.upper(), each) for path, methods in document["paths"].items() for m, each in methods.items()]
        assert len(routes) == len(OPERATIONS)
        for path, method, operation in routes:
            if path in OPEN:
                assert operation["security"] == []
                continue
            scope = Scope(expected_scope(method, path))
            assert operation["security"] == [{"token": [scope.value]}, {}], path
            # refused by its parameters, if it is not refused by its token
            url = path.format(id="x", n=0, route="suno.generate") + "?nope=1"
            for text, status in (("", 401), ("wrong", 401), (OWN, 422)):
                async with world.client.request(method, url, headers=bearer(text), json={}) as response:
                    await problem_of(response, status)
            for token in TOKENS:
                async with world.client.request(method, url, headers=bearer(token), json={}) as response:
                    if token.scope.includes(scope):
                        await problem_of(response, 422)
                        continue
                    assert f'scope="{scope}"' in response.headers["WWW-Authenticate"]
                    detail = (await problem_of(response, 403))["detail"]
                    words = f"The token {token.name} has the scope {token.scope}; this call needs the scope {scope}."
                    assert detail == words
        for path in ("/v1/nothing", "/v1/tasks/x/cancel"):  # 404 and 405 need a token, too
            async with world.client.get(path) as response:
                await problem_of(response, 401)
            async with world.client.get(path, headers=bearer(READ)) as response:
                assert response.status in {404, 405}


async def test_an_end_by_an_operator_names_the_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The event and the log have the name; the token itself is nowhere."""
    async with ServerWorld(tmp_path, api_token=OWN, tokens=TOKENS) as world:
        named, unnamed = [await world.make_task(external_id=f"x-{n}") for n in range(2)]
        with captured_logs() as lines:
            for task_id, token in ((named, STUDIO), (unnamed, OWN)):
                async with world.client.post(f"/v1/tasks/{task_id}/cancel", headers=bearer(token)) as response:
                    assert response.status == 200
        details = {task: (await world.store.list_events(task))[-1].detail for task in (named, unnamed)}
        assert details[named].endswith("(canceled by an operator (token studio))")
        assert details[unnamed].endswith("(canceled by an operator)")
        (line,) = [line for line in lines if line["event"] == "api.acted"]
        assert (line["action"], line["by"], line["about"]) == ("cancel_task", "studio", named)
        assert STUDIO.value not in json.dumps([lines, list(details.values())], default=str)
    assert STUDIO.value not in str(capsys.readouterr())


async def test_of_equal_tokens_the_least_counts(tmp_path: Path) -> None:
    """A file may be changed to the content of another one while the daemon runs."""
    twins = [
        ApiToken("a", Scope.ADMIN, "the-same"),
        ApiToken("b", Scope.READ, "the-same"),
        ApiToken("c", Scope.READ, ""),
    ]
    async with ServerWorld(tmp_path, tokens=twins) as world:
        async with world.client.post("/v1/prune", headers=bearer("the-same"), json={}) as response:
            assert "The token b" in (await problem_of(response, 403))["detail"]
        async with world.client.get("/v1/stats", headers=bearer("")) as response:
            await problem_of(response, 401)


async def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    """A token that is removed, or allows less, reads no further; other streams go on."""
    async with ServerWorld(tmp_path, api_token=OWN, tokens=TOKENS) as world:
        task_id = await world.make_task()
        streams = [await world.client.get("/v1/stream", headers=bearer(token)) for token in (READ, OPS)]
        removed, other = streams
        world.tokens.remove(READ)
        world.clock.advance(CHECK_TOKEN_S + 1)
        await world.end_task(task_id)
        await removed.content.read()  # to its end
        assert world.services.feed.readers == 1
        while b"event: task" not in await other.content.readline():
            pass
        other.close()
        async with world.client.get("/v1/stream", headers=bearer(READ)) as response:
            await problem_of(response, 401)
