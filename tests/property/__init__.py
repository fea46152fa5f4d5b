"""Generated orders and repetitions."""
