"""Numbers in [lo, hi] to limits on their means; numpy and scipy only."""
