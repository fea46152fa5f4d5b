"""Real SQLite, real sockets on loopback, one process."""
