"""What can be scaled: see scaler.places."""
