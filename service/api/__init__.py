"""What the HTTP APIs of both processes share: keys, the envelope of answers, actions."""
