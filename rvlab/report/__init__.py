"""Reports of runs: self-contained HTML files with tables and pictures, and Markdown."""
