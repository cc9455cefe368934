"""A page of Streamlit whose tab logs in or not, and records two rows in each run, one of them in a thread."""

import threading

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx

from langfuse_integration import langfuse_manager


def work(name: str) -> None:
    with langfuse_manager.trace_span(name):
        pass


who = st.text_input("who")
if st.button("log in"):
    langfuse_manager.set_session(f"tab-of-{who}", user_id=who)
if st.button("log out"):
    langfuse_manager.clear_session()
if who:
    work(f"script of {who}")
    thread = threading.Thread(target=work, args=(f"thread of {who}",))
    add_script_run_ctx(thread)
    thread.start()
    thread.join()
st.text(str(langfuse_manager.current_session_id))
