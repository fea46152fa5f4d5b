"""Providers that users define in TOML files, without code.

One file is one provider; each of its ``[routes.NAME]`` tables is a route ``provider.NAME``. ``tables`` defines what a
file may contain, ``load`` turns texts of files into providers or into one line per mistake, ``reader`` reads replies.

The format::

    name = "replicate"                       # routes are named replicate.…
    source = "https://…"                     # where the API is documented
    auth = "bearer"                          # or "x-api-key": how the account's key is sent
    account = "replicate"                    # the account of its tasks; default: the one named like the provider

    [routes.predictions]                     # any number
    create = "POST /v1/predictions"          # {model} is filled from request.model, which is not sent then
    query = "GET /v1/predictions/{task_id}"  # or POST; {task_id} here, in query_parameters or in query_body
    query_parameters = { id = "{task_id}" }
    query_body = { id = "{task_id}" }        # of a POST
    asset = "image"                          # what it makes, as in "Your image is ready."
    required = ["version", "input.prompt"]   # fields that a request must have
    poll_interval_s = 10
    headers = { Prefer = "respond-async" }   # constant ones; never a key

    [task]                                   # JMESPath, from the top of replies to creates and polls
    id = "id"
    status = "status"
    progress = "progress"                    # optional: a number …
    progress_full = 100                      # … and its value at the end
    error_code = "error.code"                # optional
    error_message = "error.message"          # optional
    ok_codes = ["0"]                         # error codes of success; default: 0, 200, success and ok

    [statuses]                               # every upstream status, in any case, and its meaning
    starting = "PENDING"
    succeeded = "SUCCEEDED"

    [reasons]                                # optional: an error code, or the start of one before a *;
                                             # without a code, a status that means FAILED
    "SAFETY.*" = "policy_rejected"

    [[outputs]]                              # one or more; the first of a finished task is its main output
    url = "output"                           # JMESPath to one URL or to a list of them; or text = "…"
    kind = "image"                           # video, image, audio, text or file
    mime = "image/png"                       # optional: for URLs without a known suffix

    [callback]                               # optional
    field = "webhook"                        # the request field for the callback URL, dotted
    required = false                         # whether the upstream refuses a create without it
    ids = ["id"]                             # JMESPath to the task id in a callback, first match
    task = "@"                               # JMESPath to the task in it; default: only poll the task
    signature = "standard-webhooks"          # or "suno-hmac"

Placeholders are filled only here; elsewhere, and with other names, they are mistakes:

- ``create``: ``{model}`` and ``{+model}``
- ``query``: ``{task_id}``, ``{+task_id}``, ``{model}`` and ``{+model}``
- values of ``query_parameters`` and ``query_body``: ``{task_id}``

``{task_id}`` and ``{model}`` are one segment of a path: slashes in them are escaped. With a plus they are not, for ids
and models that are paths themselves (``models/veo/operations/7``, ``fal-ai/minimax/video-01``; RFC 6570, reserved
expansion); ``..`` is always escaped. Tasks of a route with the model in its query can be submitted, not registered.

Besides the functions of JMESPath there are ``from_json(text)`` for JSON in a string
(``from_json(data.resultJson).resultUrls``; null if it is not JSON) and ``split(text, ',')``. Conditions make a status
of flags: ``status = "done && (error && 'failed' || 'ok') || 'running'"``.

A create is accepted when there is an id, even beside an error. Without one, an error code that is not among
``ok_codes``, or a status that means FAILED, is a refusal, also with HTTP 200: the task fails with the reason of
``[reasons]``, or ``invalid_request``; with ``rate_limited`` and ``upstream_unavailable`` it is sent again. An error
with "timeout", and HTTP's 201 and 202 without own ``ok_codes``, leave open whether the job was accepted.

A status that is not in ``[statuses]`` leaves the task running and is counted; a success without an output waits for it,
and the history shows what the expressions found. HTTP statuses and errors in the usual shapes need no declaration.
"""

from tracker.providers.declared.load import load_declared

__all__ = ["load_declared"]
