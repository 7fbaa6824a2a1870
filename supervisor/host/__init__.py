"""What the operating system does for us: processes and groups, cgroups, memory, locks, the selector loop."""
