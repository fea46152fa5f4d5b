"""The rules: what a task is, what may be learnt about it, and what follows from that.

This package is pure. It does no I/O, never waits, never reads a clock and draws no random number: time and
jitter arrive as arguments, so that every decision can be repeated from its inputs alone.
"""
