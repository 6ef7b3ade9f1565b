"""Verifier of sticky HAProxy sessions: a small Jepsen. It plants sessions, injects faults, and judges the record.

Doing and judging are apart. Layers, each importing only those to its left (tests/unit/test_layers.py)::

    errors, history, verdict <- invariants (pure) <- topology, runtime_api, hosts, client, load, ...
        <- faults <- cluster <- scenarios <- report <- run, options, cli
"""
