"""Recorded sessions for coding agents: an MCP server over stdio that only reads the journal."""
