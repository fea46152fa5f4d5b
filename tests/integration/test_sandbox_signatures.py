"""The sandbox's Kling images, and its two signature schemes of callbacks."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.kits.sandbox import Body, Client, Receiver, lower, running
from tracker.sandbox import Sandbox

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"made-up-webhook-key-of-32-bytes!").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another-made-up-key-of-32-bytes!").decode()
CLIP: Body = {"taskId": "song-1", "audioId": "clip-1"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A sandbox without faults, whose jobs are done at once."""
    async with running(duration_s=0) as ready:
        yield ready


# Kling images


@pytest.mark.parametrize(
    ("tail", "more", "result"),
    [
        ("generations", {}, {"images": 1}),
        ("generations", {"n": 3}, {"images": 3}),
        ("omni-image", {"n": 2}, {"result_type": "single", "images": 2, "series_images": 0}),
        ("omni-image", {"result_type": "series"}, {"result_type": "series", "images": 0, "series_images": 4}),
    ],
)
async def test_kling_images_are_listed_by_result_type(client: Client, tail: str, more: Body, result: Body) -> None:
    """As many images as requested, numbered; a series has a list of its own."""
    path = f"/transtreams/kling/v1/images/{tail}"
    made = await client.post(path, {"model_name": "kling-v2-1", "prompt": "a cat", **more})
    shown = (await client.get(f"{path}/{made.body['data']['task_id']}")).body["data"]["task_result"]
    assert {key: len(value) if isinstance(value, list) else value for key, value in shown.items()} == result
    images = shown.get("series_images") or shown["images"]
    assert [image["index"] for image in images] == list(range(len(images)))


@pytest.mark.parametrize(
    "more", [{"n": 0}, {"n": "2"}, {"result_type": "film"}, {"result_type": "series", "series_amount": 1}]
)
async def test_kling_refuses_absurd_numbers_of_images(client: Client, more: Body) -> None:
    """HTTP 400, code 1201."""
    body = {"model_name": "kling-v2-1", "prompt": "a cat", **more}
    reply = await client.post("/transtreams/kling/v1/images/omni-image", body)
    assert (reply.status, reply.body["code"]) == (400, 1201)


async def test_kling_images_speak_the_newer_dialect(client: Client) -> None:
    """`outputs` of type image."""
    path = "/transtreams/kling/v1/images/generations"
    made = await client.post(path, {"model_name": "kling-v2-1", "prompt": "[sandbox: dialect=new; duration=0]", "n": 2})
    data = (await client.get(f"{path}/{made.body['data']['task_id']}")).body["data"]
    assert (data["status"], [output["type"] for output in data["outputs"]]) == ("succeeded", ["image", "image"])


# Signatures


async def test_kling_callbacks_are_signed_per_standard_webhooks(receiver: Receiver) -> None:
    """While a key rotates there are two signatures, and a receiver that knows either is content."""
    async with running(kling_secret=f"{OTHER_SECRET} {WEBHOOK_SECRET}", duration_s=0) as client:
        body = {"model_name": "m", "prompt": "[sandbox: callback=duplicate; duration=0]", "callback_url": receiver.url}
        await client.post("/transtreams/kling/v1/videos/text2video", body)
        await receiver.wait(6)
    for secret in (WEBHOOK_SECRET, OTHER_SECRET):
        for raw, headers in zip(receiver.raws, receiver.headers, strict=True):
            assert Webhook(secret).verify(raw, lower(headers)) == json.loads(raw)
    ids = [headers["webhook-id"] for headers in receiver.headers]
    assert [ids.count(one) for one in ids] == [2] * 6


async def test_a_forged_signature_fits_nothing(receiver: Receiver) -> None:
    """`callback=forged` sends a signature of the right form that no receiver may accept."""
    async with running(kling_secret=WEBHOOK_SECRET, duration_s=0) as client:
        body = {"model_name": "m", "prompt": "[sandbox: callback=forged]", "callback_url": receiver.url}
        await client.post("/transtreams/kling/v1/videos/text2video", body)
        await receiver.wait(1)
    with pytest.raises(WebhookVerificationError):
        Webhook(WEBHOOK_SECRET).verify(receiver.raws[0], lower(receiver.headers[0]))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/suno/generate", {"customMode": False, "instrumental": False, "model": "V5", "prompt": "a song"}),
        ("/suno/generate-cover", CLIP),
        ("/suno/generate-lyrics", {"prompt": "a song"}),
    ],
)
async def test_suno_callbacks_are_signed_over_id_and_time(receiver: Receiver, path: str, body: Body) -> None:
    """base64(HMAC-SHA256(key, id.timestamp)), whatever the name of the id in the body."""
    async with running(suno_secret="made-up-hmac-key", duration_s=0) as client:
        made = await client.post(path, body | {"callBackUrl": receiver.url})
        await receiver.wait(1)
    headers = receiver.headers[0]
    signed = f"{made.body['data']['taskId']}.{headers['X-Webhook-Timestamp']}".encode()
    expected = base64.b64encode(hmac.digest(b"made-up-hmac-key", signed, hashlib.sha256)).decode()
    assert headers["X-Webhook-Signature"] == expected


async def test_without_a_secret_nothing_is_signed(client: Client, receiver: Receiver) -> None:
    """The default: no header of either scheme."""
    await client.post("/suno/generate-lyrics", {"prompt": "a song", "callBackUrl": receiver.url})
    await receiver.wait(1)
    assert not [name for name in receiver.headers[0] if "webhook" in name.lower()]


@pytest.mark.parametrize(
    "options", [{"kling_secret": "no base64!"}, {"openai_webhook_secret": ""}, {"suno_secret": ""}]
)
def test_secrets_that_cannot_be_read_are_refused(options: Body) -> None:
    """Before anything is served, and without showing them."""
    with pytest.raises(ValueError, match="callback secret must") as caught:
        Sandbox(**options)
    assert "no base64!" not in str(caught.value)
