"""Metrics for Prometheus: names what the other packages count, at each scrape. Must not count anything itself."""
