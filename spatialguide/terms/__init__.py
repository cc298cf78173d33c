"""What authors of loss and relation plugins import."""
