"""Engines: where the work on rows is done, here or on many machines. One file each."""
