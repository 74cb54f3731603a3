"""The implementation of `rvlab.Lab`: functions of a store and an engine."""
