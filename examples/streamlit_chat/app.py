"""A chat with an agent, for many users at once: `streamlit run examples/streamlit_chat/app.py`.

It is the guide's chat application, with a user and a real agent.
"""

import uuid

import streamlit as st
from librarian import librarian

from langfuse_integration import langfuse_manager

st.title("Ask the library")
your_agent = librarian()

# Initialize session on first run
if "messages" not in st.session_state:
    st.session_state.messages = []
    st.session_state.session_id = f"chat-{uuid.uuid4().hex[:8]}"
    # Stands for your authentication, e.g. st.user.get("email"): here the address says who it is, ?user=ada
    st.session_state.user_id = st.query_params.get("user", "anonymous")
    langfuse_manager.set_session(st.session_state.session_id, user_id=st.session_state.user_id)

st.caption(f"{st.session_state.user_id}, in session {st.session_state.session_id}")

# Display chat history
for message in st.session_state.messages:
    with st.chat_message(message["role"]):
        st.markdown(message["content"])

# Chat input
if prompt := st.chat_input("What would you like to know?"):
    # Add user message
    st.session_state.messages.append({"role": "user", "content": prompt})
    with st.chat_message("user"):
        st.markdown(prompt)

    # Process with automatic session tracking
    with langfuse_manager.trace_span(
        "chat_message", input=prompt, metadata={"message_count": len(st.session_state.messages)}
    ) as span:
        response = your_agent.process(prompt)
        span.update(output=response)

    # Add assistant message
    st.session_state.messages.append({"role": "assistant", "content": response})
    with st.chat_message("assistant"):
        st.markdown(response)
