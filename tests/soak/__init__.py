"""Long runs through everything that can go wrong; left out of `make test`."""
