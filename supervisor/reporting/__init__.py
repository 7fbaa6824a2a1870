"""What people and programs are told: journal and hooks, the status and its schemas, log files, the tally."""
