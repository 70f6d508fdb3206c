"""The review page: rows that wait for people, one at a time, in a browser."""
