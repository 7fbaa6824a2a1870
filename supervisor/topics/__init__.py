"""Topics as declared: what differs on the cluster, and bringing it about.

``plan`` is pure, ``admin`` is the only module that talks to brokers, and ``converge`` repeats observe, plan
and apply until the cluster is as declared. ``supervisor start`` calls ``converge.bootstrap``.
"""
