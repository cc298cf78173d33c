"""Loading pipelines and schedulers."""
