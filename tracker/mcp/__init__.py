"""Tools for AI agents: an MCP server on standard input and output, through `tracker.client`."""
