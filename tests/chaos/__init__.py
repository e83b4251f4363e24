"""Chaos: a load, faults, and a model that tells whether what came out is allowed.

    loads ── calls ──▶ txcouchbase ──▶ the server
      │        │            ▲              ▲
      │        │            └─── faults ───┘
      │        └─ the book: each ends once
      └─ models: what each read may have seen

`calls` keeps the book of what was called and how it ended, `model` knows what may be seen after
it, `load`, `queries` and `visits` make the calls, `jobs` holds what job workers run, `faults` plans
and strikes, `leftovers` looks for what stays behind, `run` puts them together.
`benchmarks/chaos.py` runs it for as long as wanted.
"""
