"""How things show themselves: text for terminals, and HTML that follows JupyterLab's theme."""
