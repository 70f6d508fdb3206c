"""Sources: each file reads one kind of place, record by record."""
