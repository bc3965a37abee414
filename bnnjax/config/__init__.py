"""The configurations of all commands; nothing here imports JAX, so that --help and mistakes are fast."""
