"""A recipe as a typed Kubeflow pipeline. Nothing is run here."""
