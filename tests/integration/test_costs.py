"""What tasks cost: as the upstream reports it, by the price list, and against the budget of their account."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.test_accounts import RecordingUpstream, listening
from tests.kits.clock import START, after
from tests.kits.daemon import (
    KEY_ENV,
    NEVER_POLLS,
    ApiClient,
    Json,
    Ran,
    Setting,
    account,
    run_tracker,
    running_daemon,
)
from tests.kits.world import World
from tracker.cli.session import load_served
from tracker.config.sections import Retention
from tracker.domain.costs import Cost
from tracker.domain.ids import make_task_id
from tracker.domain.records import iso, task_json
from tracker.domain.report import ReportFilter
from tracker.domain.task import Status
from tracker.errors import ConfigError
from tracker.maintenance.pruning import Pruning
from tracker.sandbox import DEFAULT_KEY
from tracker.store.sqlite.lists import SearchLimits

SONG = {"customMode": False, "instrumental": True, "model": "V5", "prompt": "rain"}
VIDEO = {"model": "wan2.5-t2v-preview", "input": {"prompt": "rain"}, "parameters": {"duration": 5}}
PRICES = """
[prices]
currency = "EUR"
"suno.generate" = { per_call = 0.08 }
"suno.generate:V4" = { per_call = 0.05 }
"dashscope.video" = { per_call = 0.01, per_second = 0.1 }
"openai.chat" = { per_1k_tokens = 0.002 }
"""
BUDGET = "[budget]\ndaily = 0.2\n"
ESTIMATE = {"currency": "EUR", "kind": "estimate"}
CREATE = "/dashscope/v1/services/aigc/video-generation/video-synthesis"


def setting_of(upstream: RecordingUpstream, tables: str) -> Setting:
    """A daemon whose only account is at the upstream."""
    return Setting(upstream.url, poll=NEVER_POLLS, tables=tables)


async def polled(api: ApiClient, task: Json) -> Json:
    """The task after a poll."""
    assert (await api.call("POST", f"/v1/tasks/{task['id']}/poll"))[0] == 200
    return await api.get(f"/v1/tasks/{task['id']}")


def song_made(tracks: int = 1) -> tuple[int, Json]:
    """The answer to a query for a song."""
    clips = [{"audioUrl": f"https://cdn.example.com/{n}.mp3", "duration": 90} for n in range(tracks)]
    return 200, {"code": 200, "msg": "success", "data": {"status": "SUCCESS", "response": {"sunoData": clips}}}


async def test_what_ended_tasks_cost(tmp_path: Path) -> None:
    """A price per call, one per second of the result, one per token, one of a model, and what the upstream reports."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES)) as api:
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        upstream.answers["/suno/query/task"] = song_made()
        song = await api.submit("suno.generate", SONG)
        assert song["cost"] is None, "nothing is known before the end"
        assert (await polled(api, song))["cost"] == {"amount": 0.08, **ESTIMATE}
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s2"}})
        older = await polled(api, await api.submit("suno.generate", {**SONG, "model": "V4"}))
        assert older["cost"] == {"amount": 0.05, **ESTIMATE}

        upstream.answers[CREATE] = (200, {"output": {"task_id": "v1", "task_status": "PENDING"}})
        done = {"task_id": "v1", "task_status": "SUCCEEDED", "video_url": "https://cdn.example.com/1.mp4"}
        upstream.answers["/dashscope/v1/tasks"] = (200, {"output": done, "usage": {"duration": 8, "SR": 720}})
        video = await polled(api, await api.submit("dashscope.video", VIDEO))
        assert video["cost"] == {"amount": 0.81, **ESTIMATE}, "the result is longer than was asked for"
        assert video["usage"] == {"duration": 8, "SR": 720}

        usage = {"prompt_tokens": 400, "completion_tokens": 100}
        answer: Json = {"choices": [{"message": {"content": "hi"}}], "usage": usage}
        upstream.answers["/openai/v1/chat"] = (200, answer)
        chat = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
        assert (await api.submit("openai.chat", chat))["cost"] == {"amount": 0.001, **ESTIMATE}
        answer["usage"] = {**usage, "cost": 0.5}
        paid = await api.submit("openai.chat", chat)
        assert paid["cost"] == {"amount": 0.5, "currency": "USD", "kind": "actual"}


async def submitted(api: ApiClient, **body: Json) -> tuple[int, Json]:
    """Submit a song; status and JSON."""
    return await api.call("POST", "/v1/tasks", {"route": "suno.generate", "request": SONG, **body})


async def test_a_submit_beyond_the_budget_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    """Open and ended tasks of the day count, refused ones do not; the refusal says how much, and until when."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES + BUDGET)) as api:
        upstream.answers["/suno/generate"] = (200, {"code": 413, "msg": "too long", "data": None})
        assert (await submitted(api))[1]["status"] == "FAILED"
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        first = (await submitted(api, idempotency_key="one"))[1]
        upstream.answers["/suno/query/task"] = song_made()
        await polled(api, first)
        assert (await submitted(api))[0] == 201
        status, problem = await submitted(api)
        assert (status, problem["reason"], problem["title"]) == (402, "quota_exhausted", "Payment Required")
        assert problem["detail"].startswith(
            "The budget of account default is 0.2 EUR a day: 0.16 EUR are spent or reserved today, and this request "
            "would cost about 0.08 EUR; it resets at "
        )
        assert (len(upstream.bodies), len((await api.get("/v1/tasks"))["items"])) == (3, 3), "nothing sent or recorded"
        assert (await submitted(api, dry_run=True))[0] == 402
        assert (await submitted(api, idempotency_key="one"))[0] == 200, "a known key costs nothing"
        assert (await api.call("POST", f"/v1/tasks/{first['id']}/resubmit", {"confirm": True}))[0] == 402
        cheaper = {"route": "suno.generate", "request": {**SONG, "model": "V4"}}
        assert (await api.call("POST", "/v1/tasks", cheaper))[0] == 402, "0.16 and 0.05 are more than 0.2"
        unpriced = {"route": "suno.generate-lyrics", "request": {"prompt": "rain"}}
        upstream.answers["/suno/generate-lyrics"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "l1"}})
        assert (await api.call("POST", "/v1/tasks", unpriced))[0] == 201, "the budget is not used up"
        assert len((await api.get("/v1/tasks"))["items"]) == 4


async def test_the_command_says_why_it_was_not_sent(tmp_path: Path) -> None:
    """``submit`` exits with 1; a dry run prints the price, that of a batch the sum."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES + BUDGET)) as api:

        async def submit(*arguments: str) -> Ran:
            env = {"TRACKER_URL": api.tracker.url, "TRACKER_API_TOKEN": "fake"}
            return await run_tracker("submit", *arguments, directory=tmp_path, env=env)

        song = ("suno.generate", "-d", json.dumps(SONG))
        dry = await submit(*song, "--dry-run")
        assert (dry.code, dry.out, dry.err) == (
            0,
            "",
            "the request is valid; it would cost about 0.08 EUR; nothing was sent\n",
        )
        assert (await submit(*song, "--dry-run", "--json")).json == {"price": {"amount": 0.08, **ESTIMATE}}
        lines = [{"request": SONG}, {"request": SONG}, {"route": "suno.generate-lyrics", "request": {"prompt": "x"}}]
        (tmp_path / "songs.jsonl").write_text("\n".join(map(json.dumps, lines)))
        batch = ("suno.generate", "--batch", "songs.jsonl")
        dry = await submit(*batch, "--dry-run")
        assert dry.err == ("3 requests checked, all valid; about 0.16 EUR and 1 without a price; nothing was sent\n")
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        assert (await submit(*batch)).code == 0
        refused = await submit(*song)
        assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
        assert "The budget of account default is 0.2 EUR a day: 0.16 EUR are spent or reserved today" in refused.err
        again = tmp_path / "more.jsonl"
        again.write_text(json.dumps({"request": SONG}))
        refused = await submit("suno.generate", "--batch", "more.jsonl")
        assert (refused.code, "nothing was sent" in refused.err) == (1, True)


async def test_a_batch_stops_where_the_budget_is_used_up(tmp_path: Path) -> None:
    """Each request fits when they are checked; the command says which one did not, and how to go on another day."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES + BUDGET)) as api:
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        (tmp_path / "songs.jsonl").write_text("\n".join([json.dumps({"request": SONG})] * 3))
        env = {"TRACKER_URL": api.tracker.url, "TRACKER_API_TOKEN": "fake"}
        batch = ("submit", "suno.generate", "--batch", "songs.jsonl")
        ran = await run_tracker(*batch, directory=tmp_path, env=env)
        assert (ran.code, len(ran.out.split())) == (1, 2)
        why, sent, go_on = ran.err.splitlines()
        assert why.startswith("songs.jsonl, line 3: The budget of account default is 0.2 EUR a day: 0.16 EUR are spent")
        assert (sent, go_on.partition(": ")[2]) == ("2 of 3 requests were submitted", f"tracker {' '.join(batch)}")
        assert len(upstream.bodies) == 2


async def test_sums_of_costs(tmp_path: Path) -> None:
    """By day, route and label; what was refused costs nothing, and each kind and currency is a sum of its own."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES)) as api:
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        upstream.answers["/suno/query/task"] = song_made()
        for user in ("anna", "anna", "bert"):
            await polled(api, await api.submit("suno.generate", SONG, labels={"user": user}))
        style = {"code": 200, "msg": "ok", "data": {"result": "pop", "creditsConsumed": 0.4, "creditsRemaining": 96}}
        upstream.answers["/suno/style-generate"] = (200, style)
        await api.submit("suno.style-generate", {"content": "pop"}, labels={"user": "anna"})
        upstream.answers["/suno/generate"] = (200, {"code": 413, "msg": "too long", "data": None})
        await api.submit("suno.generate", SONG, labels={"user": "bert"})
        cost = (await api.get("/v1/stats"))["cost"]
        actual = {"amount": 0.4, "currency": "credits", "kind": "actual", "tasks": 1}
        songs = {"amount": 0.24, **ESTIMATE, "tasks": 3}
        (day,) = {one["day"] for one in cost["days"]}
        assert cost["days"] == [{"day": day, **songs}, {"day": day, **actual}]
        assert cost["routes"] == [{"route": "suno.generate", **songs}, {"route": "suno.style-generate", **actual}]
        assert cost["labels"] == [
            {"label": "user", "value": "anna", **actual},
            {"label": "user", "value": "anna", "amount": 0.16, **ESTIMATE, "tasks": 2},
            {"label": "user", "value": "bert", "amount": 0.08, **ESTIMATE, "tasks": 1},
        ]
        env = {"TRACKER_URL": api.tracker.url, "TRACKER_API_TOKEN": "fake"}
        shown = await run_tracker("status", directory=tmp_path, env=env)
        assert "Costs     today (UTC) 0.24 EUR estimated, 0.4 credits\n" in shown.out


ACCEPTED = (200, {"code": 0, "message": "SUCCEED", "data": {"task_id": "k1", "task_status": "submitted"}})
KLING = {"model_name": "kling-v3-omni", "prompt": "a kite"}
PROBABLY = "The task failed after the service had accepted it, so the job was probably charged"


async def test_failed_but_charged_and_refunded_are_told_apart(tmp_path: Path) -> None:
    """``why`` says it in a sentence, by the codes and fields of the provider, and so does ``show``."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES)) as api:

        async def why(task: Json) -> str:
            return " ".join((await api.get(f"/v1/tasks/{task['id']}/why"))["notes"])

        async def show(task: Json) -> str:
            env = {"TRACKER_URL": api.tracker.url, "TRACKER_API_TOKEN": "fake"}
            return (await run_tracker("show", str(task["id"]), directory=tmp_path, env=env)).out

        videos = "/transtreams/kling/v1/videos/omni-video"
        upstream.answers[f"{videos}/k1"] = (
            200,
            {"code": 0, "data": {"task_id": "k1", "task_status": "failed", "final_unit_deduction": "1"}},
        )
        upstream.answers[videos] = ACCEPTED
        charged = await polled(api, await api.submit("kling.omni-video", KLING))
        assert charged["cost"] == {"amount": 1, "currency": "units", "kind": "actual"}
        assert "The task failed, and the service charged 1 unit." in await why(charged)
        assert "The task failed, and the service charged 1 unit.\n" in await show(charged)

        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        song = await api.submit("suno.generate", SONG)
        body: Json = {"code": 200, "msg": "ok", "data": {"status": "GENERATE_AUDIO_FAILED", "errorMessage": "no"}}
        upstream.answers["/suno/query/task"] = (200, body)
        probably = await polled(api, song)
        assert probably["cost"] == {"amount": 0.08, **ESTIMATE}
        assert f"{PROBABLY}: about 0.08 EUR, by your price list." in await why(probably)

        upstream.answers["/suno/query/task"] = (200, {**body, "data": {**body["data"], "errorCode": 531}})
        refunded = await polled(api, await api.submit("suno.generate", SONG))
        assert refunded["cost"] == {"amount": 0, "currency": "credits", "kind": "actual"}
        assert "The task failed, and the service refunded it." in await why(refunded)

        upstream.answers["/suno/generate"] = (200, {"code": 413, "msg": "too long", "data": None})
        refused = await api.submit("suno.generate", SONG)
        assert (refused["cost"], "Nothing was charged." in await why(refused)) == (None, True)


async def test_a_report(tmp_path: Path) -> None:
    """How many failed, why, how long it took and what it cost: over HTTP, by the command, and from the file alone."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES)) as api:
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        upstream.answers["/suno/query/task"] = song_made()
        for user in ("anna", "anna", "bert"):
            await polled(api, await api.submit("suno.generate", SONG, labels={"user": user}))
        open_one = await api.submit("suno.generate", SONG)
        style = {"code": 200, "msg": "ok", "data": {"result": "pop", "creditsConsumed": 0.4, "creditsRemaining": 96}}
        upstream.answers["/suno/style-generate"] = (200, style)
        await api.submit("suno.style-generate", {"content": "pop"}, labels={"user": "anna"})
        upstream.answers["/suno/generate"] = (200, {"code": 413, "msg": "too long", "data": None})
        await api.submit("suno.generate", SONG)

        routes = (await api.get("/v1/report?since=2020-01-01"))["items"]
        assert [(one["route"], one["succeeded"], one["failed"], one["active"]) for one in routes] == [
            ("suno.generate", 3, 1, 1),
            ("suno.style-generate", 1, 0, 0),
        ]
        assert routes[0]["cost"] == {"amount": 0.24, **ESTIMATE}
        songs = (await api.get("/v1/tasks?route=suno.generate&status=SUCCEEDED"))["items"]
        took = sorted(seconds_between(one["created_at"], one["finished_at"]) for one in songs)
        assert (routes[0]["p50_s"], routes[0]["p95_s"]) == (took[1], took[2])
        (everything,) = (await api.get("/v1/report?by=account&since=2020-01-01"))["items"]
        assert (everything["cost"]["currency"], everything["other_costs"]) == (
            "EUR",
            [{"amount": 0.4, "currency": "credits", "kind": "actual"}],
        )
        day = open_one["created_at"][:10]
        by_label = (await api.get("/v1/report?by=day,label.user,reason,model"))["items"]
        shown = [(one["day"], one["label.user"], one["reason"], one["model"], one["succeeded"]) for one in by_label]
        assert sorted(shown, key=str) == sorted(
            [
                (day, "anna", None, "V5", 2),
                (day, "anna", None, None, 1),
                (day, "bert", None, "V5", 1),
                (day, None, None, "V5", 0),
                (day, None, "invalid_request", "V5", 0),
            ],
            key=str,
        )
        assert (await api.get("/v1/report?until=2020-01-01&since=2019-01-01"))["items"] == []
        for by, message in (
            ("rout", "has an unknown name, 'rout'; did you mean route?"),
            ("label.", "has an unknown name, 'label.'; "),
        ):
            status, problem = await api.call("GET", f"/v1/report?by={by}")
            assert (status, problem["errors"][0]["loc"]) == (422, ["query", "by"])
            assert problem["errors"][0]["msg"].startswith(message)

        env = {"TRACKER_URL": api.tracker.url, "TRACKER_API_TOKEN": "fake"}
        ran = await run_tracker("report", "--by", "reason", "--since", "1d", directory=tmp_path, env=env)
        table = [line.split() for line in ran.out.splitlines()]
        assert table[0] == ["REASON", "SUCCEEDED", "FAILED", "ACTIVE", "P50", "P95", "COST"]
        assert table[1][:4] + table[1][-5:] == ["-", "4", "0", "1", "about", "0.24", "EUR,", "0.4", "credits"]
        assert table[2] == ["invalid_request", "0", "1", "0", "-", "-", "-"]
        assert (await run_tracker("report", "--by", "x", directory=tmp_path, env=env)).code == 2
        whole = await run_tracker("report", "--by", "", "--since", "1d", directory=tmp_path, env=env)
        assert whole.out.splitlines()[1].split()[:3] == ["4", "1", "1"]
    from_file = await run_tracker("report", "--since", "1d", "--json", directory=tmp_path, env={"TRACKER_CONFIG": "x"})
    assert from_file.code == 78
    offline = {"TRACKER_CONFIG": str(tmp_path / "tracker.toml"), KEY_ENV: DEFAULT_KEY}
    from_file = await run_tracker("report", "--since", "1d", "--json", directory=tmp_path, env=offline)
    assert from_file.json["items"] == routes


def seconds_between(first: str, last: str) -> float:
    """The seconds between two times of the API."""
    return round((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds(), 3)


async def test_a_long_report_is_cut_and_says_so(tmp_path: Path) -> None:
    """It counts the newest tasks; with more groups than are listed it says that too."""
    async with World(tmp_path / "t.db") as world:
        for n in range(1, 8):
            created_at = after(n)
            await world.follow(
                n, id=make_task_id(created_at, bytes([n] * 10)), created_at=created_at, labels={"n": "1"}
            )
        whole = await world.store.read_report(ReportFilter(("label.n",), START))
        assert whole.json() == {"items": [{"label.n": "1", "active": 7, **NOTHING}]}
        world.store.search_limits = SearchLimits(total_s=0.0, first_slice=3)
        cut = (await world.store.read_report(ReportFilter((), START))).json()
        assert cut["items"] == [{"active": 3, **NOTHING}]
        assert cut["notice"].startswith(
            f"The report took too long: it counts only tasks that were created at {iso(after(5))}"
        )


NOTHING: Json = {"succeeded": 0, "failed": 0, "p50_s": None, "p95_s": None, "cost": None, "other_costs": []}


async def test_parallel_submits_do_not_exceed_a_budget_together(tmp_path: Path) -> None:
    """Each is checked in the transaction that records it."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, PRICES + BUDGET)) as api:
        upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
        results = await asyncio.gather(*(submitted(api) for _ in range(20)))
        assert sorted(status for status, _ in results) == [201] * 2 + [402] * 18
        assert len(upstream.bodies) == 2


async def test_a_budget_of_zero_allows_nothing_but_what_is_free(tmp_path: Path) -> None:
    """Also a route without a price is refused; a job that was created elsewhere is followed all the same."""
    free = '[prices]\n"suno.style-generate" = { per_call = 0 }\n[budget.accounts]\ndefault = 0\n'
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, free)) as api:
        assert (await submitted(api))[0] == 402
        style = {"route": "suno.style-generate", "request": {"content": "pop"}}
        assert (await api.call("POST", "/v1/tasks", style))[0] == 201
        assert (await api.call("POST", "/v1/tasks", {"route": "suno.generate", "external_id": "s1"}))[0] == 201
        assert len(upstream.bodies) == 1


async def test_a_reload_changes_prices_and_budgets(tmp_path: Path) -> None:
    """For the submits from then on."""
    async with listening() as upstream:
        setting = setting_of(upstream, PRICES + BUDGET)
        async with running_daemon(tmp_path, setting) as api:
            upstream.answers["/suno/generate"] = (200, {"code": 200, "msg": "ok", "data": {"taskId": "s1"}})
            file = Setting(upstream.url, tables=PRICES + "[budget]\ndaily = 0.05\n", port=setting.port).write(tmp_path)
            changed, unchanged = api.tracker.reload(load_served(file, {KEY_ENV: DEFAULT_KEY}))
            assert ("budget.daily" in changed, unchanged) == (True, [])
            assert (await submitted(api))[0] == 402


async def test_secrets_in_the_figures_of_an_upstream_are_masked(tmp_path: Path) -> None:
    """What it echoes there is stored for ever."""
    async with listening() as upstream, running_daemon(tmp_path, setting_of(upstream, "")) as api:
        usage = {"key": DEFAULT_KEY, "total_tokens": 7}
        upstream.answers["/openai/v1/chat"] = (200, {"choices": [{"message": {"content": "hi"}}], "usage": usage})
        chat = await api.submit("openai.chat", {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]})
        assert (chat["usage"]["total_tokens"], DEFAULT_KEY in str(chat["usage"])) == (7, False)


async def test_retention_keeps_figures_and_costs(tmp_path: Path) -> None:
    """They outlive the bodies that they came in."""
    async with World(tmp_path / "t.db") as world:
        await world.follow(1)
        await world.call(1, Status.SUCCEEDED, usage='{"a":1}', cost=Cost(Decimal("0.5"), "USD"), payload='{"b":2}')
        await world.store.fan_out(None, 10)
        world.clock.advance(100 * 86_400)
        await Pruning(world.store, world.clock, lambda: Retention(events_days=1, payload_days=1)).run()
        shown = task_json(await world.get(1))
        assert (shown["result"], shown["usage"], shown["cost"]["amount"]) == (None, {"a": 1}, 0.5)


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        (
            '[prices]\n"suno.generat" = { per_call = 1 }',
            "prices.suno.generat: unknown route; did you mean suno.generate",
        ),
        ('[prices]\n"suno.generate:" = { per_call = 1 }', "prices.suno.generate:: has no model after the colon"),
        ('[prices]\n"suno.generate" = {}', "prices.suno.generate: has no price; set one of per_call, per_second"),
        ('[prices]\n"suno.generate" = { per_cal = 1 }', "prices.suno.generate.per_cal: unknown key; did you mean"),
        ('[prices]\n"suno.generate" = { per_call = -1 }', "prices.suno.generate.per_call: must be greater than"),
        ('[prices]\n"suno.generate" = { per_call = "x" }', "prices.suno.generate.per_call: must be a number"),
        ('[prices]\n"suno.generate" = { per_call = true }', "prices.suno.generate.per_call: must be a number"),
        ('[prices]\n"suno.generate" = 1', "prices.suno.generate: must be a table"),
        ('[prices]\ncurrency = "dollars"', 'prices.currency: is not a currency; write for example "USD"'),
        ("[budget]\ndaily = -5", "budget.daily: must be greater than or equal to 0"),
        ("[budget.accounts]\ndefalt = 5", "budget.accounts.defalt: unknown account; did you mean default?"),
        ("[budget.accounts]\nother = 5", "budget.accounts.other: unknown account; add [accounts.other]"),
    ],
)
def test_mistakes_in_prices_and_budgets(tmp_path: Path, tables: str, problem: str) -> None:
    """One line each, with the file, the key and how to fix it."""
    file = tmp_path / "tracker.toml"
    file.write_text(f"{tables}\n{account('default', 'http://127.0.0.1:9')}")
    with pytest.raises(ConfigError) as caught:
        load_served(file, {KEY_ENV: DEFAULT_KEY})
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: {problem}")
