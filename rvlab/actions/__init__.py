"""What the methods of `rvlab.Lab` do: functions that take a store and an engine."""
