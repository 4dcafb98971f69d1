"""What a dictionary itself is like."""
