"""Training: from kept rows to a tested adapter."""
