"""Scripts that train the bundled tiny model and its detector; not part of the installed package."""
