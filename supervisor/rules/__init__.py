"""What is decided, and why: policy, budgets, limits, a seat's life as a table. Pure."""
