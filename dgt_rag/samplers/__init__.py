"""Which documents a conversation is grounded in."""
