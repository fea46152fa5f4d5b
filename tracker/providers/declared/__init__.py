"""Providers that users define in TOML files, without code.

One file is one provider; each of its ``[routes.NAME]`` tables is a route ``provider.NAME``. ``tables`` says what a
file may hold, ``load`` turns files into providers or into one line per mistake, ``reader`` reads answers with them.
Nothing here opens a file: texts come in.

The format::

    name = "replicate"                       # routes are named replicate.…
    source = "https://…"                     # where the API is documented
    auth = "bearer"                          # or "x-api-key": how the account's key travels
    account = "replicate"                    # the account of its tasks; left out: the one named like the provider

    [routes.predictions]                     # any number
    create = "POST /v1/predictions"          # a {model} is filled from request.model, which then leaves the body
    query = "GET /v1/predictions/{task_id}"  # or POST; {task_id} here, in query_parameters or in query_body
    query_parameters = { id = "{task_id}" }
    query_body = { id = "{task_id}" }        # of a POST
    asset = "image"                          # what it makes, in a user's word: "Your image is ready."
    required = ["version", "input.prompt"]   # fields of a request without which it is not sent
    poll_interval_s = 10
    headers = { Prefer = "respond-async" }   # constant ones; never a key

    [task]                                   # JMESPath, from the top of the answers to creates and polls
    id = "id"
    status = "status"
    progress = "progress"                    # optional: a number …
    progress_full = 100                      # … and what it is when all is done
    error_code = "error.code"                # optional
    error_message = "error.message"          # optional
    ok_codes = ["0"]                         # error codes that state no error; default: 0, 200, success and ok

    [statuses]                               # every status of theirs, in any case, and which of the four it is
    starting = "PENDING"
    succeeded = "SUCCEEDED"

    [reasons]                                # optional: an error code of theirs, or the start of one before a *;
                                             # where there is no code, a status that means FAILED
    "SAFETY.*" = "policy_rejected"

    [[outputs]]                              # one or more; the first of a finished task is its main result
    url = "output"                           # JMESPath to one URL or to a list of them; or text = "…"
    kind = "image"                           # video, image, audio, text or file
    mime = "image/png"                       # optional: where the URL's suffix does not tell

    [callback]                               # optional
    field = "webhook"                        # the field of a request that takes our URL, dotted
    required = false                         # whether a create is refused without it
    ids = ["id"]                             # JMESPath to the task id in a callback, first match
    task = "@"                               # JMESPath to the task in it; left out: it only makes the tracker poll
    signature = "standard-webhooks"          # or "suno-hmac"

Placeholders are filled at these places alone; everywhere else, and under other names, they are mistakes:

- ``create``: ``{model}`` and ``{+model}``
- ``query``: ``{task_id}``, ``{+task_id}``, ``{model}`` and ``{+model}``
- values of ``query_parameters`` and ``query_body``: ``{task_id}``

``{task_id}`` and ``{model}`` are one part of a path: a slash in them is escaped. With a plus the slashes stay, for ids
and models that are paths themselves (``models/veo/operations/7``, ``fal-ai/minimax/video-01``; RFC 6570, reserved
expansion); ``..`` never leads out of the path. Tasks of a route whose query names the model can be submitted only, not
registered.

Besides the functions of JMESPath there are ``from_json(text)`` for JSON that stands in a string
(``from_json(data.resultJson).resultUrls``; null for what is no JSON) and ``split(text, ',')``. Conditions make a status
out of flags: ``status = "done && (error && 'failed' || 'ok') || 'running'"``.

A create is accepted when there is an id, whatever stands beside it. Without one, an error code that is not among
``ok_codes``, or a status that means FAILED, is a refusal, also with HTTP 200: the task fails with the reason of
``[reasons]``, or ``invalid_request``; ``rate_limited`` and ``upstream_unavailable`` have it sent again. What says
"timeout", or HTTP's 201 and 202 without ``ok_codes`` of the file's own, leaves open whether the job was taken.

A status that ``[statuses]`` does not name leaves the task running and is counted; a success without an output waits
for it, and the history says what the expressions found instead. HTTP statuses and errors in the usual shapes are
understood without being declared.
"""

from tracker.providers.declared.load import load_declared

__all__ = ["load_declared"]
