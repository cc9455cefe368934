"""What happens to observations after they are noted: built, written to the journal, sent to Langfuse."""
