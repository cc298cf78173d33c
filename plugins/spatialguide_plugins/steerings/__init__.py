"""Steerings of attention."""
