"""AI music on ``/suno/*`` (Suno-compatible): one module per shape of result, chosen by the route.

``envelope`` reads ``{code, msg, data}`` and the callback around it, ``codes`` has the body codes; ``song``, ``lyrics``,
``conversions`` (stems, WAV, MP4, cover art) and ``instant`` (synchronous routes) read one shape of result each;
``checks`` has the required fields, ``family`` lists the routes.
"""
