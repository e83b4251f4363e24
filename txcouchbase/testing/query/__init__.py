"""The query service: SQL++ on the documents of the node."""
