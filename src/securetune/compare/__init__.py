"""Comparisons: a tuned model with its start model, and strategies over rates, checkpoints and seeds."""
