"""A lenient JSON decoder for the answers of real servers."""
