"""What every engine of the store must do; each test runs once for each engine."""
