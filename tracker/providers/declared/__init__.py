"""Providers that users define in TOML files, without code.

One file is one provider; each of its ``[routes.NAME]`` tables is a route ``provider.NAME``. ``tables`` defines what a
file may contain, ``load`` turns texts of files into providers or into one line per mistake, ``reader`` reads replies.

The format::

    name = "replicate"                       # routes are named replicate.…
    source = "https://…"                     # where the API is documented
    auth = "bearer"                          # how the account's key is sent: "bearer", "x-api-key", or any header with
                                             # the key in it, as "Authorization: Key {key}"
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

    [values]                                 # optional: values for placeholders, JMESPath from {request, answer,
    app = "split(request.model, '/')[0]"     # model, task_id}; here {app}

    [result]                                 # optional: a second call, after a success without outputs
    query = "GET /files/{answer.file_id}"    # its reply is under `result` in the expressions below
    query_parameters = { id = "{task_id}" }
    failed_http = [422]                      # its HTTP statuses that mean: the job failed

    [task]                                   # JMESPath, from the top of replies to creates and polls
    id = "id"
    status = "status"
    progress = "progress"                    # optional: a number …
    progress_full = 100                      # … and its value at the end
    error_code = "error.code"                # optional
    error_message = "error.message"          # optional
    ok_codes = ["0"]                         # error codes of success; default: 0, 200, success and ok
    finished_at = "completed_at"             # optional: when a job ended, see below
    usage = "usage"                          # optional: an object of what it used, stored as it is
    cost = "usage.cost"                      # optional: what a finished job cost …
    currency = "USD"                         # … and in what: a currency, or a unit such as "credits"

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
    duration = "seconds"                     # optional: the length in seconds, one for all URLs or one for each
    authenticated = true                     # optional: the account's key opens the URL

    [callback]                               # optional
    field = "webhook"                        # the request field for the callback URL, dotted …
    parameter = "webhook"                    # … or the query parameter for it
    extra = { events = ["completed"] }       # further request fields, by dotted path, sent with the callback URL
    required = false                         # whether the upstream refuses a create without it
    ids = ["id"]                             # JMESPath to the task id in a callback, first match
    task = "@"                               # JMESPath to the task in it; default: only poll the task
    statuses = { OK = "SUCCEEDED" }          # statuses that only callbacks have
    challenge = "challenge"                  # the field of a test of the URL, whose value must be returned
    signature = "standard-webhooks"          # or "suno-hmac"

Placeholders are filled only here; elsewhere, and with other names, they are mistakes:

- ``create``: ``{model}``, ``{request.FIELD}``, and values that use nothing else
- ``query`` of a route and of ``[result]``: these, ``{task_id}`` and ``{answer.FIELD}`` of the reply to the call before:
  that is the create for a status call, and the status call for ``[result]``
- values of ``query_parameters`` and ``query_body``: the same, without a plus
- ``auth``: ``{key}``

In a path, a value is one segment: slashes in it are escaped. With a plus (``{+task_id}``, ``{+model}``) they are not,
for ids and models that are paths themselves (``models/veo/operations/7``, ``fal-ai/minimax/video-01``; RFC 6570,
reserved expansion). No value leads to another path or host: ``..``, ``?`` and ``#`` are always escaped. Tasks of a
route whose status call repeats a part of the create can be submitted, not registered.

Besides the functions of JMESPath there are ``from_json(text)`` for JSON in a string
(``from_json(data.resultJson).resultUrls``; null if it is not JSON), ``split(text, ',')``, and ``url_path(url)`` for the
path of a URL. Conditions make a status of flags: ``status = "done && (error && 'failed' || 'ok') || 'running'"``. A
hash gives a callback the shape of a poll: ``task = "{id: request_id, status: status, result: payload}"``.

A create is accepted when there is an id, even beside an error. Without one, an error code that is not among
``ok_codes``, or a status that means FAILED, is a refusal, also with HTTP 200: the task fails with the reason of
``[reasons]``, or ``invalid_request``; with ``rate_limited`` and ``upstream_unavailable`` it is sent again. An error
with "timeout", and HTTP's 201 and 202 without own ``ok_codes``, leave open whether the job was accepted.

A status that is not in ``[statuses]`` leaves the task running and is counted; a success without an output waits for it,
and the history shows what the expressions found. A reply to the second call with another HTTP status of failure changes
nothing: the task is polled again. HTTP statuses and errors in the usual shapes need no declaration.

``finished_at`` is a number since 1970 (seconds to nanoseconds), or ISO 8601 with its zone; where the upstream writes
none, add it: ``join('', [ended, '+08:00'])``. Another value is ignored, as is one before the submit or in the
future.

The files in ``shipped`` are examples of all this; they define nothing until they are copied into ``providers.d/``.
"""

from tracker.providers.declared.load import load_declared

__all__ = ["load_declared"]
