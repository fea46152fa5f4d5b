"""AI music on ``/suno/*`` (Suno-compatible): one module per shape of result, chosen by the route.

``envelope`` reads ``{code, msg, data}`` and the callback around it, ``codes`` knows the body codes, ``song``
and its later siblings read one shape of result each, ``family`` lists the routes.
"""
