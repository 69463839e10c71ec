"""How fast Hookline is, each time against a limit or a rival measured in the same run: `python -m bench`."""
