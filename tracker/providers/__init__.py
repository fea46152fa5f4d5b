"""Providers: pure translators between the wire formats of upstreams and the domain, one family of routes per module.

Nothing here sends, stores, reads a clock or draws random numbers. A new provider is a module in ``families`` with a
`Provider`, and one line in ``registry``; a new route is one more entry. ``declared`` reads those of users' TOML files.
"""
