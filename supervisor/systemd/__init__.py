"""The unit that systemd runs us with, its installation, and what systemd is told (docs/systemd.md)."""
