"""The HTTP surface: thin shells that parse, call and answer. Decisions live elsewhere.

`app.make_app` is the door; `operations` lists every route once, for the router and for ``/openapi.json``.
"""
