"""Runs that were made elsewhere come into the tables, and ours go to other trackers."""
