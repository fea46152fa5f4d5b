"""The built-in families: one TOML file per wire format, and the few routes that need code.

A file says what an upstream answers; `tracker.sandbox.interpreter` plays it. ``[common]`` holds for every route of the
file (``like`` starts from another file), ``[bases.NAME]`` is shared by the routes that name it in ``base``, and
``[routes.NAME]`` is one route ``file.NAME``. JSON is in texts, as an upstream writes it; its placeholders are those
of `tracker.sandbox.templates`.

What a request must be::

    create = "POST /path/{model}"         # {+model} may hold slashes
    query = "GET /path/{task_id}"         # left out: the create is answered with the result
    query_parameters, query_body          # where {task_id} is, if not in the path
    id_name = "answer.id"                 # the placeholder that names the job, instead of task_id
    auth = ["authorization"]              # headers of which one carries the key; authorization is Bearer
    takes_forms = true                    # a multipart form is as good as JSON
    prompt = "input.prompt"               # where the prompt is: a text, or a list of messages
    defaults = { n = 1 }                  # what a request means when it leaves a field out
    checks = [{ field = "model" }]        # in the order of the upstream, see `tracker.sandbox.checks`
    once = { fields = ["taskId"], … }     # the refusal of a second request for the same source

What is answered::

    error                                 # the shape of every error
    [refusals]                            # http (200 if left out) and values for error, or a body: one entry for each
                                          # `Refusal`, for invalid and unknown; perhaps unnamed (no id) and key
    [faults]                              # per `GenerationFault`: values; status replaces the usual status; in a route
                                          # that answers at once, http makes it an error
    [accepted]                            # body, and what sometimes is added
    [query_answer]                        # body; per stage what is added from then on; shown: once outputs are shown
    [result]                              # body, succeeded, shown: of a route that answers at once
    [callback]                            # field of the request with the URL (or account = true); body, per stage and
                                          # fault what is added, or false for none; phases, signature, id of the message
    [[variants]]                          # a table laid over all this where its when matches
    [templates]                           # named parts: $name

What templates know: ``id``, ``status``, ``prompt``, ``progress``, ``request.…``, ``params.…``, ``request_id``,
``request_text``, ``created``, ``updated``, ``expires``, ``began`` (of the stage that adds it), ``now``,
``file.LABEL`` and ``files.LABEL`` of ``outputs``, ``text``, ``input_tokens``, ``output_tokens``, ``total_tokens``,
``uuid.LABEL``, ``hex24.LABEL`` and the like, ``values``, the values of the fault, and what ``computed`` adds. ``time``
is the format of times; ``stages`` and ``statuses`` are the life of a job.
"""
