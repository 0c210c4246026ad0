"""Real servers on loopback, for tests, the bench and the demo. Each ends with the process that started it."""
