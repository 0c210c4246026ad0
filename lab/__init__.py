"""Real servers on loopback, for tests, the bench and the demo. Each dies with the process that started it."""
