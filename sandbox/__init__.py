"""The embedded sandbox: real servers from package registries, and labelled stand-ins."""
