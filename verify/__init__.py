"""Verifier of sticky HAProxy sessions: plants them on real balancers and judges the answers.

Layers, each importing only those to its left::

    errors <- invariants, step <- waiting, topology, runtime_text, runtime_api, client, hosts
        <- node <- walkthrough <- report <- cli
"""
