"""The search service: its indexes, stored and read back, and the searches in them."""
