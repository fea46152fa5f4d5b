"""Periodic maintenance of the store and the caches."""
