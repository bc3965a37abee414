"""What a user may ask for; nothing here imports JAX."""
