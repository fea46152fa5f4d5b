"""Alarms of a running daemon reach hooks: once each, over restarts, and never the hook that they are about."""

from __future__ import annotations

from pathlib import Path

from tests.kits.alarms import alarms_of
from tests.kits.daemon import Setting, running_daemon
from tests.kits.hook_endpoint import SECRET
from tests.kits.processes import find_free_port
from tests.kits.waiting import until

BROKEN = """
[[hooks]]
name = "broken"
on = ["task.failed", "system.*"]
url = "http://127.0.0.1:{port}/"
secret_env = "S"
allow_private_addresses = true
max_attempts = 99
retry_first_s = 0.02
retry_max_s = 0.02
"""
RING = """
[[hooks]]
name = "ring"
on = ["system.*"]
run = ["{script}"]
"""


async def test_a_hook_out_of_reach_is_told_to_others_once(tmp_path: Path) -> None:
    """Raised for an open circuit, kept over a restart that cannot know it, and cleared when the hook is removed."""
    heard, script = tmp_path / "heard", tmp_path / "ring.sh"
    script.write_text(f'#!/bin/sh\necho "$TRACKER_EVENT $TRACKER_ALARM_KIND $TRACKER_ALARM_SUBJECT" >> {heard}\n')
    script.chmod(0o700)
    broken, ring = BROKEN.format(port=find_free_port()), RING.format(script=script)

    def lines() -> list[str]:
        """What was heard of the hook; upstreams that do not answer have alarms too."""
        found = heard.read_text().splitlines() if heard.exists() else []
        return [line for line in found if "hook" in line]

    setting = Setting(gateway="http://127.0.0.1:9", tables=broken + ring, env={"S": SECRET})
    async with running_daemon(tmp_path, setting) as api:
        for n in range(3):
            _, task = await api.call("POST", "/v1/tasks", {"route": "kling.text2video", "external_id": f"up-{n}"})
            await api.call("POST", f"/v1/tasks/{task['id']}/cancel")
        await until(lambda: lines() == ["system.alarm hook_circuit_open broken"])
        (alarm,) = await alarms_of(api, "hook_circuit_open")
        ready = await api.get("/readyz")
        assert alarm["message"] in ready["reasons"]
        assert ready["alarms"] == len(ready["reasons"]) == len((await api.get("/v1/alarms"))["items"])
        assert alarm["message"].rstrip(".") in await api.tracker.health_checks.status_line()
        deliveries = (await api.get("/v1/deliveries?hook=ring"))["items"]
        (one,) = [item for item in deliveries if item["alarm_subject"] == "broken"]
        told = await api.get(f"/v1/deliveries/{one['id']}")
        assert (told["task_id"], told["event"], told["alarm_kind"]) == (None, "system.alarm", "hook_circuit_open")
        mine = (await api.get("/v1/deliveries?hook=broken"))["items"]
        assert "broken" not in {item["alarm_subject"] for item in mine}
    async with running_daemon(tmp_path, setting) as api:
        assert await alarms_of(api, "hook_circuit_open") == [alarm]
    without = Setting(gateway="http://127.0.0.1:9", tables=ring)
    async with running_daemon(tmp_path, without) as api:
        await until(lambda: len(lines()) > 1)
        assert await alarms_of(api, "hook_circuit_open") == []
    assert lines() == ["system.alarm hook_circuit_open broken", "system.clear hook_circuit_open broken"]
