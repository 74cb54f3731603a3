"""The process that runs one step of a run and writes its records, on every engine."""
