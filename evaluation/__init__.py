"""Evaluation: predictions, metrics, baselines and the gate."""
