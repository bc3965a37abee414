"""How trained networks stand noise."""
