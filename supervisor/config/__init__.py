"""Reads the configuration: file, environment and flags become one ``Settings``."""
