"""Calls to MCP servers, recorded under the right user session."""
