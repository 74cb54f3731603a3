"""Shared colors, fonts, heat cells, pixel images and text wrapping of all plots."""
