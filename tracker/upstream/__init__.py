"""The HTTP client for upstreams: rate limits, circuit breakers, and errors that say whether a request was sent."""
