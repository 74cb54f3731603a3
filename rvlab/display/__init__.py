"""Text and HTML representations."""
