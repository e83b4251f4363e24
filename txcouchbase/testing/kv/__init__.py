"""The key-value service of the embedded node, over the memcached binary protocol."""
