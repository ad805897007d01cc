"""Conversations → rows of a trainer."""
