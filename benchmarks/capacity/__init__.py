"""How many devices do so many users need? Simulated with measured times."""
