"""Metrics: each file turns stored cases into one number."""
