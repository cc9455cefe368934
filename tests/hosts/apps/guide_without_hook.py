"""The guide's application on a Streamlit whose script start cannot be hooked."""

from pathlib import Path

import streamlit as st

import langfuse_integration.hosts.streamlit as host_module
from langfuse_integration.recording import tracing

host_module._at_script_start = lambda place: False
tracing.store.current()
st.text(f"hook: {tracing.store._hosts[0].placed_at_start}")
exec(Path(__file__).with_name("guide_session_state.py").read_text())
