"""What the client of the API server is given, and what is read of its responses."""
