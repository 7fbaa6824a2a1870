"""``supervisor demo``: everything at work on a Kafka of its own, a worker killed half-way, and an audit."""
