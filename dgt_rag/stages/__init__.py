"""The stages of a conversation."""
