"""Holds the OLAP side back as far as the real-time side needs it: signal, controller, rounds."""
