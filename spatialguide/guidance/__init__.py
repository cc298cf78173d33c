"""The method, and what attaches it to a pipeline."""
