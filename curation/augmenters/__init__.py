"""Augmenters: each file makes new rows out of seeds and bad cases."""
