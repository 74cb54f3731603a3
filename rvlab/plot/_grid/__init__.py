"""The grid of predictions: options, reading, cells, layout and legend."""
