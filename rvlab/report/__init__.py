"""Runs as pages that stand by themselves: tables and pictures in one HTML file."""
