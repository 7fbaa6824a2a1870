"""Makes login events, good and bad, and sends them to Kafka at an even rate."""
