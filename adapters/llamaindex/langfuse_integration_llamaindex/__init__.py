"""LlamaIndex agents, workflows and queries, recorded under the right user session."""
