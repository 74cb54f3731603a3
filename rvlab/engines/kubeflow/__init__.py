"""The engine for Kubeflow Pipelines."""
