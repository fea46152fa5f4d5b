"""The daemon as a process: it builds the parts, connects them, and orders their start and stop."""
