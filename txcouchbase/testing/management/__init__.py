"""The management service: buckets, collections, users and what a node says about itself."""
