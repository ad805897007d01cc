"""Many conversations: opened, made, written."""
