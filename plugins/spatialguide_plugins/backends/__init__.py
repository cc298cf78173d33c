"""Backends: models that people run."""
