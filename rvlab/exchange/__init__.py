"""Import from Raster Vision, Lightning, MLflow and predictions; export to MLflow and STAC."""
