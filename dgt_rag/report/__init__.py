"""Figures, and what a person looks at."""
