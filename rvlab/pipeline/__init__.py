"""A recipe as a typed Kubeflow pipeline; nothing is executed here."""
