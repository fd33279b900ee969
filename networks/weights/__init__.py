"""Reading weights of any origin, and copying them into a network."""
