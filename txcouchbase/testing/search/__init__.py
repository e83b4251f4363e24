"""The search service: its indexes, stored and read back."""
