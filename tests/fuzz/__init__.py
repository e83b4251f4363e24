"""Random and damaged requests for a node, and a client that sees whether it bears them.

All of it follows from a seed. Requests that stop a node by design (``/kill``, ``/hold``, faults,
scripts) or that change the administrator's password are never sent.
"""
