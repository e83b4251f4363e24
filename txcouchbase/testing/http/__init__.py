"""What the node's HTTP services have in common: requests, routes, answers and their delivery."""
