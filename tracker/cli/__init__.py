"""The command line: thin commands over the HTTP API, the SQLite file and the composition root.

Owns texts and exit codes. Must not decide anything about tasks. Modules that a command needs are imported when it
runs, so that ``tracker --help`` starts fast.
"""
