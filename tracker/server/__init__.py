"""The HTTP server: handlers parse a request, call a service and encode the response. Decisions are elsewhere.

Start at `app.make_app`; `operations` lists every route once, for the router and for ``/openapi.json``.
"""
