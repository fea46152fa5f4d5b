"""The providers' own client libraries, unmodified, against the sandbox: they accept its answers.

Each runs in a thread of its own, as its users run it, with its base URL pointed at the sandbox. Two settings more
are needed, as they are with the gateway: `google-genai` asks for `v1` unless set to `v1beta`, and `anthropic` sends
its `api_key` as Bearer, while the gateway documents `x-api-key`.

The libraries are imported late and by name: they take a second each, and their types would take mypy many more.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest

from tests.kits.sandbox import lower, receiving
from tests.kits.waiting import WITHIN_S
from tracker.sandbox import DEFAULT_KEY, Sandbox

# The videos of `openai` are marked as ending; the gateway's are not.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")

PNG = b"\x89PNG\r\n\x1a\n"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"made-up-webhook-key-of-32-bytes!").decode()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove proxies, keys and addresses of the environment."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE", "GEMINI", "DASHSCOPE"):
        for end in ("API_KEY", "BASE_URL", "AUTH_TOKEN", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"):
            monkeypatch.delenv(f"{name}_{end}", raising=False)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox whose jobs take no noticeable time."""
    async with Sandbox(duration_s=0.1) as running:
        yield running


# openai


@contextmanager
def openai_client(sandbox: Sandbox) -> Iterator[Any]:
    """The library, pointed at the sandbox."""
    base_url = f"{sandbox.base_url}/openai/v1"
    with import_module("openai").OpenAI(base_url=base_url, api_key=DEFAULT_KEY, max_retries=0) as client:
        yield client


async def test_openai_makes_polls_and_downloads_videos(sandbox: Sandbox) -> None:
    """Create as a form, with and without a file; poll to the end; bytes; deletion; a failure with its reason."""

    def use() -> None:
        openai = import_module("openai")
        with openai_client(sandbox) as client:
            made = client.videos.create(model="kling-3.0", prompt="a cat", seconds="8", size="720x1280")
            assert (made.object, made.status, made.seconds, made.size) == ("video", "queued", "8", "720x1280")
            done = client.videos.poll(made.id, poll_interval_ms=20)
            assert (done.id, done.status, done.progress, done.error) == (made.id, "completed", 100, None)
            assert done.expires_at > done.completed_at >= done.created_at
            assert client.videos.download_content(done.id).read()[4:8] == b"ftyp"
            assert client.videos.download_content(done.id, variant="thumbnail").read().startswith(PNG)
            assert client.videos.delete(done.id).deleted
            with pytest.raises(openai.NotFoundError):
                client.videos.retrieve(done.id)
            failed = client.videos.create_and_poll(
                model="kling-3.0",
                prompt="[sandbox: fail=policy]",
                input_reference=("cat.png", PNG, "image/png"),
                poll_interval_ms=20,
            )
            assert (failed.status, failed.error.code) == ("failed", "moderation_blocked")

    await asyncio.to_thread(use)


async def test_openai_chats_and_streams(sandbox: Sandbox) -> None:
    """A completion, and the same in chunks."""

    def use() -> None:
        asked = {"model": "gpt-5.1", "messages": [{"role": "user", "content": "hello"}]}
        with openai_client(sandbox) as client:
            complete = client.chat.completions.create(**asked)
            (choice,) = complete.choices
            assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
            assert complete.usage.total_tokens == complete.usage.prompt_tokens + complete.usage.completion_tokens
            chunks = client.chat.completions.create(**asked, stream=True)
            pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
            assert "".join(pieces) == choice.message.content

    await asyncio.to_thread(use)


async def test_openai_follows_responses(sandbox: Sandbox) -> None:
    """At once, in the background and streamed."""

    def use() -> None:
        with openai_client(sandbox) as client:
            at_once = client.responses.create(model="gpt-5.1", input="hello")
            assert at_once.status == "completed"
            assert at_once.output_text
            assert client.responses.retrieve(at_once.id).output_text == at_once.output_text
            later = client.responses.create(model="gpt-5.1", input="hello", background=True)
            assert (later.status, later.output_text) == ("queued", "")
            give_up_at = time.monotonic() + WITHIN_S
            while later.status in {"queued", "in_progress"} and time.monotonic() < give_up_at:
                time.sleep(0.02)
                later = client.responses.retrieve(later.id)
            assert (later.status, later.output_text) == ("completed", at_once.output_text)
            with client.responses.stream(model="gpt-5.1", input="hello") as stream:
                pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
                assert stream.get_final_response().output_text == "".join(pieces) == at_once.output_text

    await asyncio.to_thread(use)


async def test_openai_lists_models_and_makes_images(sandbox: Sandbox) -> None:
    """The library reads the gateway's envelope, and both kinds of image."""

    def use() -> None:
        with openai_client(sandbox) as client:
            assert "kling-3.0" in [model.id for model in client.models.list()]
            by_url = client.images.generate(model="kling-v2-1", prompt="a cat", n=2)
            assert [image.url.startswith(sandbox.base_url) for image in by_url.data] == [True, True]
            assert client.images.generate(model="gpt-image-1", prompt="a cat").data[0].b64_json

    await asyncio.to_thread(use)


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("policy", "BadRequestError", "moderation_blocked"),
        ("quota", "RateLimitError", "insufficient_quota"),
        ("throttled", "RateLimitError", "rate_limit_exceeded"),
        ("rate_limited", "RateLimitError", "rate_limit_exceeded"),
        ("500", "InternalServerError", "server_error"),
        ("cut", "APIConnectionError", None),
    ],
)
async def test_openai_maps_every_refusal(sandbox: Sandbox, fault: str, error: str, code: str | None) -> None:
    """Each becomes the library's own error, with the code that was sent."""

    def use() -> None:
        openai = import_module("openai")
        with openai_client(sandbox) as client, pytest.raises(getattr(openai, error)) as caught:
            client.images.generate(prompt=f"[sandbox: create={fault}]")
        assert caught.value.code == code

    await asyncio.to_thread(use)


async def test_openai_verifies_the_signed_event() -> None:
    """The library unwraps a `video.completed` with the right secret, and refuses a forged one."""
    async with receiving() as receiver:
        signing = Sandbox(duration_s=0.0, openai_webhook_url=receiver.url, openai_webhook_secret=WEBHOOK_SECRET)
        async with signing as sandbox:

            def use() -> str:
                with openai_client(sandbox) as client:
                    client.videos.create(model="kling-3.0", prompt="[sandbox: callback=forged; duration=0]")
                    return str(client.videos.create(model="kling-3.0", prompt="a cat").id)

            video_id = await asyncio.to_thread(use)
            await receiver.wait(2)

            def check() -> None:
                openai = import_module("openai")
                received = zip(receiver.bodies, receiver.raws, map(lower, receiver.headers), strict=True)
                with openai_client(sandbox) as client:
                    for body, raw, headers in received:
                        if body["data"]["id"] == video_id:
                            event = client.webhooks.unwrap(raw, headers, secret=WEBHOOK_SECRET)
                            assert (event.type, event.id) == ("video.completed", headers["webhook-id"])
                        else:
                            with pytest.raises(openai.InvalidWebhookSignatureError):
                                client.webhooks.unwrap(raw, headers, secret=WEBHOOK_SECRET)

            await asyncio.to_thread(check)


# anthropic


@contextmanager
def anthropic_client(sandbox: Sandbox, **more: object) -> Iterator[Any]:
    """The library, pointed at the sandbox, with the key in the gateway's header."""
    options = {"default_headers": {"x-api-key": DEFAULT_KEY}, **more}
    base_url = f"{sandbox.base_url}/anthropic"
    with import_module("anthropic").Anthropic(
        base_url=base_url, api_key=DEFAULT_KEY, max_retries=0, **options
    ) as client:
        yield client


ASKED: dict[str, Any] = {"model": "claude-sonnet-4-6", "messages": [{"role": "user", "content": "hello"}]}


async def test_anthropic_makes_streams_and_counts(sandbox: Sandbox) -> None:
    """A message, the same streamed, and how many tokens it would be."""

    def use() -> None:
        with anthropic_client(sandbox) as client:
            message = client.messages.create(max_tokens=64, **ASKED)
            assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
            with client.messages.stream(max_tokens=64, **ASKED) as stream:
                assert stream.get_final_message().content[0].text == message.content[0].text
            assert client.messages.count_tokens(**ASKED).input_tokens == message.usage.input_tokens

    await asyncio.to_thread(use)


async def test_anthropic_pages_through_the_models(sandbox: Sandbox) -> None:
    """Pages of five give the same list as one page."""

    def use() -> None:
        with anthropic_client(sandbox) as client:
            paged = [model.id for model in client.models.list(limit=5)]
            assert len(paged) > 5
            assert paged == [model.id for model in client.models.list().data]

    await asyncio.to_thread(use)


async def test_anthropic_maps_every_refusal(sandbox: Sandbox) -> None:
    """The wrong header family, an overload, a bad request."""

    def use() -> None:
        anthropic = import_module("anthropic")
        with anthropic_client(sandbox, default_headers={}) as client, pytest.raises(anthropic.AuthenticationError):
            client.messages.create(max_tokens=64, **ASKED)
        with anthropic_client(sandbox) as client:
            for fault, status, kind in (
                ("maintenance", 529, "overloaded_error"),
                ("policy", 400, "invalid_request_error"),
            ):
                said = [{"role": "user", "content": f"[sandbox: create={fault}]"}]
                with pytest.raises(anthropic.APIStatusError) as caught:
                    client.messages.create(model="m", max_tokens=64, messages=said)
                assert (caught.value.status_code, caught.value.body["error"]["type"]) == (status, kind)

    await asyncio.to_thread(use)


# google-genai


async def test_google_genai_generates_text_and_pictures(sandbox: Sandbox) -> None:
    """Text from text; a picture from a picture and text; and each refusal with its reason."""

    def use() -> None:
        genai, types = import_module("google.genai"), import_module("google.genai.types")
        options = types.HttpOptions(base_url=f"{sandbox.base_url}/gemini", api_version="v1beta")
        with genai.Client(api_key=DEFAULT_KEY, http_options=options) as client:

            def generate(model: str, *contents: object) -> Any:  # noqa: ANN401 - a library without types here
                return client.models.generate_content(model=model, contents=list(contents))

            drawing = "gemini-3.1-flash-image-preview"
            assert generate("gemini-3-flash-preview", "hello").text
            picture = types.Part.from_bytes(data=PNG, mime_type="image/png")
            parts = generate(drawing, picture, "Make it night").candidates[0].content.parts
            (shown,) = [part.inline_data for part in parts if part.inline_data]
            assert (shown.mime_type, shown.data[:8]) == ("image/png", PNG)
            blocked = generate(drawing, "[sandbox: create=policy]")
            assert blocked.prompt_feedback.block_reason.value == "PROHIBITED_CONTENT"
            withheld = generate(drawing, "[sandbox: fail=policy]")
            assert withheld.candidates[0].finish_reason.value == "IMAGE_SAFETY"
            with pytest.raises(import_module("google.genai.errors").ClientError) as caught:
                generate(drawing, "[sandbox: create=throttled]")
            assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")

    await asyncio.to_thread(use)


# dashscope


@pytest.fixture
def dashscope(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a library without types here
    """The library, pointed at the sandbox. The gateway's path has no ``/api``."""
    library = import_module("dashscope")
    monkeypatch.setattr(library, "base_http_api_url", f"{sandbox.base_url}/dashscope/v1")
    monkeypatch.setattr(library, "api_key", DEFAULT_KEY)
    return library


async def test_dashscope_makes_and_awaits_videos(dashscope: Any) -> None:  # noqa: ANN401 - a library without types here
    """Create, fetch, wait to the end; a failure with its code; an unknown id."""

    def use() -> None:
        videos = dashscope.VideoSynthesis
        made = videos.async_call(model="wan2.5-t2v-preview", prompt="a cat [sandbox: duration=0.05]")
        assert (made.status_code, made.output.task_status) == (200, "PENDING")
        assert videos.fetch(made).output.task_id == made.output.task_id
        done = videos.wait(made)
        assert (done.output.task_status, done.usage.video_count) == ("SUCCEEDED", 1)
        assert done.output.video_url.startswith("http://127.0.0.1")
        failed = videos.wait(videos.async_call(model="m", prompt="[sandbox: fail=policy; duration=0]"))
        assert (failed.output.task_status, failed.output.code) == ("FAILED", "DataInspectionFailed")
        assert videos.fetch("no-such-task").output.task_status == "UNKNOWN"

    await asyncio.to_thread(use)


async def test_dashscope_makes_images_at_once(dashscope: Any) -> None:  # noqa: ANN401 - a library without types here
    """The multimodal call gives pictures, or a refusal with the family's code."""

    def use() -> None:
        def draw(prompt: str) -> Any:  # noqa: ANN401 - a library without types here
            said = [{"role": "user", "content": [{"text": prompt}]}]
            return dashscope.MultiModalConversation.call(model="qwen-image", messages=said, n=2)

        content = draw("a cat").output.choices[0].message.content
        assert [part["image"].startswith("http://127.0.0.1") for part in content] == [True, True]
        refused = draw("[sandbox: create=quota]")
        assert (refused.status_code, refused.code) == (400, "Arrearage")

    await asyncio.to_thread(use)
