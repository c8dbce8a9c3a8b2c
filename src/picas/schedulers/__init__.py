"""Batch systems: each a thin layer over the commands of its own."""
