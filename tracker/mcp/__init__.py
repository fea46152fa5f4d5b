"""Tools for AI agents: an MCP server on standard input and output, by way of `tracker.client`."""
