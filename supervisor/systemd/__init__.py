"""The unit that systemd runs us with, and its installation (docs/systemd.md)."""
