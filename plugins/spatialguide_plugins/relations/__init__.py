"""Spatial relations."""
