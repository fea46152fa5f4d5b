"""Rules and providers: no I/O, table-driven."""
