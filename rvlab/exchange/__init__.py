"""Import of runs from Raster Vision's outputs and MLflow, and export to MLflow."""
