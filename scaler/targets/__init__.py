"""What can be scaled: see scaler.backends."""
