"""From a record of losses to a certificate; numpy and scipy only."""
