"""The main job under stress; each tool is one command: `python -m tests.faults --help`."""
