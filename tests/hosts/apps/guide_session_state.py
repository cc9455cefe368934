# ruff: noqa: E402, I001, RET504, W293
# fmt: off
"""The guide's "Using with Streamlit Session State", word for word between the two lines, and one use of it per run."""

import time

import streamlit as st

if not hasattr(st, "experimental_user"):  # the guide's name; Streamlit 1.67 has only its successor, `st.user`
    st.experimental_user = st.user


class your_agent:
    @staticmethod
    def process(query: str) -> str:
        time.sleep(0.02)  # so that the runs of several tabs overlap
        langfuse_manager.trace_agent_step("think", query, "thought")
        return f"answer to {query}"


# ----------------------------------------------------------------------------------------------------------------------
import streamlit as st
import uuid
from langfuse_integration import langfuse_manager

# Initialize session ID in Streamlit session state
if 'session_id' not in st.session_state:
    st.session_state.session_id = f"streamlit-{uuid.uuid4().hex[:8]}"
    
    # Optional: Get user ID from authentication
    st.session_state.user_id = st.experimental_user.get("id", "anonymous")
    
    # Set the Langfuse session
    langfuse_manager.set_session(
        st.session_state.session_id,
        user_id=st.session_state.user_id
    )

# Now all traces in this Streamlit session will be grouped
def process_user_query(query):
    with langfuse_manager.trace_span("streamlit_query"):
        # Process query - automatically tagged with session
        result = your_agent.process(query)
        return result
# ----------------------------------------------------------------------------------------------------------------------


st.session_state.runs = st.session_state.get("runs", 0) + 1
ours = f"{st.session_state.session_id} of {st.session_state.user_id}"
process_user_query(ours)
langfuse_manager.trace_mcp_call("llama-mcp", ours, "found")
st.text(st.session_state.session_id)
st.text(st.session_state.user_id)
st.text(f"{langfuse_manager.current_session_id} of {langfuse_manager.current_user_id}")
