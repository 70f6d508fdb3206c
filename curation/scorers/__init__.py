"""Scorers: each file measures one quality of a row and judges nothing."""
