"""Inside the container: one step of a run in, its records out."""
