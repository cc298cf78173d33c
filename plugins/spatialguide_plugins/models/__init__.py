"""What differs between the models that people run: a row for each."""
