"""LangChain and LangGraph runs, recorded under the right user session."""
