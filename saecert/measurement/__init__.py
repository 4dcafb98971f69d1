"""Subject and corpus to arrays: the only expensive step."""
