"""Declared providers in the daemon: refused creates, models in status calls, and results that are not URLs."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_accounts import listening
from tests.kits.daemon import NEVER_POLLS, Setting, account, running_daemon

FAL = """
name = "fal"
source = "https://fal.example/docs"
[routes.queue]
create = "POST /{+model}"
query = "GET /{+model}/requests/{+task_id}"
asset = "video"
[task]
id = "id"
status = "status"
error_code = "base.code"
error_message = "base.words"
[statuses]
DONE = "SUCCEEDED"
LOST = "FAILED"
[reasons]
1008 = "quota_exhausted"
[[outputs]]
url = "result"
kind = "video"
"""
MODEL = "fal-ai/minimax/video-01"


async def test_a_declared_provider_in_the_daemon(tmp_path: Path) -> None:
    """A code without an id fails the task; paths keep their slashes; ``why`` shows what was found instead of a URL."""
    (tmp_path / "providers.d").mkdir()
    (tmp_path / "providers.d" / "fal.toml").write_text(FAL)
    async with listening() as fal:
        setting = Setting(poll=NEVER_POLLS, tables=account("fal", fal.url))
        async with running_daemon(tmp_path, setting) as api:
            fal.answers["/"] = (200, {"id": "", "base": {"code": 1008, "words": "no credit"}})
            refused = await api.submit("fal.queue", {"model": MODEL})
            assert (refused["status"], refused["reason"]) == ("FAILED", "quota_exhausted")
            assert refused["error"] == {"code": "1008", "message": "no credit", "http_status": 200}
            assert "may have been charged" not in str(await api.get(f"/v1/tasks/{refused['id']}/why"))
            fal.answers["/"] = (200, {"id": "F/1", "base": {"code": 1008}})
            task = await api.submit("fal.queue", {"model": MODEL})
            assert (task["status"], task["external_id"]) == ("PENDING", "F/1")
            fal.answers["/"] = (200, {"status": "DONE", "result": '{"url": "https://cdn.example.com/1.mp4"}'})
            await api.call("POST", f"/v1/tasks/{task['id']}/poll")
            said = (await api.get(f"/v1/tasks/{task['id']}/why"))["heard"][-1]["said"]
            assert "outputs.url (result) found JSON in a text, not a URL; read it with from_json(…)" in said
            status, problem = await api.call("POST", "/v1/tasks", {"route": "fal.queue", "external_id": "F1"})
            assert (status, problem["errors"][0]["loc"]) == (422, ["route"])
    assert list(fal.requests) == [f"POST /{MODEL}", f"GET /{MODEL}/requests/F/1"]
