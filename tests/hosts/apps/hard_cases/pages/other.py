"""A second page of the same application."""

import streamlit as st

from langfuse_integration import langfuse_manager

langfuse_manager.trace_agent_step("other page", st.session_state.ours, "done")
st.text(st.session_state.ours)
