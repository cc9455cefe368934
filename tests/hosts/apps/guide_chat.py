# ruff: noqa: E402, I001, W291, W293
# fmt: off
"""The guide's "Example: Chat Application", word for word between the two lines."""

import time
import uuid  # the guide's example forgets it


class your_agent:
    @staticmethod
    def process(prompt: str) -> str:
        time.sleep(0.02)  # so that the runs of several tabs overlap
        ours = st.session_state.session_id
        langfuse_manager.trace_mcp_call("llama-mcp", ours, "found", tool="search")
        return f"{ours} heard {prompt}"


# ----------------------------------------------------------------------------------------------------------------------
import streamlit as st
from langfuse_integration import langfuse_manager

# Initialize session on first run
if 'messages' not in st.session_state:
    st.session_state.messages = []
    st.session_state.session_id = f"chat-{uuid.uuid4().hex[:8]}"
    langfuse_manager.set_session(st.session_state.session_id)

# Display chat history
for message in st.session_state.messages:
    with st.chat_message(message["role"]):
        st.markdown(message["content"])

# Chat input
if prompt := st.chat_input("What would you like to know?"):
    # Add user message
    st.session_state.messages.append({"role": "user", "content": prompt})
    
    # Process with automatic session tracking
    with langfuse_manager.trace_span("chat_message", 
                                      metadata={"message_count": len(st.session_state.messages)}):
        response = your_agent.process(prompt)
    
    # Add assistant message
    st.session_state.messages.append({"role": "assistant", "content": response})
# ----------------------------------------------------------------------------------------------------------------------

st.text(st.session_state.session_id)
