"""Recipes: files with Raster Vision's ``get_config``, how they are found and validated."""

from rvlab.recipes.source import Recipe, find_recipe, own_recipe, shipped_recipes

__all__ = ["Recipe", "find_recipe", "own_recipe", "shipped_recipes"]
