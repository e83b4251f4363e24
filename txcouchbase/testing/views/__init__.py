"""The view service: design documents, stored and read back."""
