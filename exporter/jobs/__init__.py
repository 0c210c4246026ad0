"""What people are shown of the jobs of a queue: by their name, and why they fail."""
