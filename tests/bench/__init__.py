"""Benchmarks: ratios against a baseline on the same machine in the same run, never timed assertions."""
