"""A frozen language model with SAEs at its hook points."""
