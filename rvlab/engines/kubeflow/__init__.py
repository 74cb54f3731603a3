"""The engine on Kubeflow Pipelines."""
