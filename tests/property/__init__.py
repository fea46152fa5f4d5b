"""Orders and repetitions that nobody would write down by hand."""
