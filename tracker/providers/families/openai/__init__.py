"""OpenAI-style routes on ``/openai/v1/*``: one module per shape of reply, chosen by the route.

``codes`` knows the error codes, ``video`` the asynchronous videos, ``responses`` what may end at once or be
followed, ``chat`` and ``images`` what always ends at once; ``family`` lists the routes.
"""
