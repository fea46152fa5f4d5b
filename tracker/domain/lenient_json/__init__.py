"""JSON as real servers write it."""
