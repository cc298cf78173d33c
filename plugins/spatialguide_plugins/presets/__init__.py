"""Named starting points of configurations."""
