"""Machinery that the providers share to read what upstreams say."""
