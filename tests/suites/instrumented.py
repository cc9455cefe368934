"""A pytest plugin for the suites of the frameworks: `instrument()` of all adapters before their tests are collected."""

from __future__ import annotations

import langfuse_integration_langchain
import langfuse_integration_llamaindex
import langfuse_integration_mcp

for adapter in (langfuse_integration_langchain, langfuse_integration_llamaindex, langfuse_integration_mcp):
    adapter.instrument()
