"""The translators: one family of upstream routes per module, from wire payloads to our words and back.

This room is pure. It sends nothing, stores nothing, looks at no clock and draws no random number. To add a
family: a module with something that satisfies `Provider` (a `Family` of entries, most often), and one line in
`registry.py`. To add a route to a family: one more entry. Users define theirs in TOML files, see `declared`.
"""
