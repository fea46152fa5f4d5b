"""The daemon as a process: start, kill, restart, deliver."""
