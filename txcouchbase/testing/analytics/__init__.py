"""The analytics service: scopes, collections, indexes and links, stored and read back."""
