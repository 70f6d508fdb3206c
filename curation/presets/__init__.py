"""Presets: how a record of a product or a log becomes a bad case, one file each."""
