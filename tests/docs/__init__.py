"""Tests of the pages in Markdown and of the site that is built from them."""
