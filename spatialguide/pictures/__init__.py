"""Images out: PNGs with their record, attention sheets, curves, diagrams."""
