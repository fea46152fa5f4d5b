"""Tests in a real systemd: PID 1 of private namespaces, on a copy of this machine that disappears afterwards."""
