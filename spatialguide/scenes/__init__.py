"""What a prompt says is there, and where. Imports no torch."""
