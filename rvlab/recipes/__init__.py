"""What to learn: Raster Vision ``get_config`` functions, and how a recipe is found and checked."""

from rvlab.recipes.source import Recipe, find_recipe, shipped_recipes

__all__ = ["Recipe", "find_recipe", "shipped_recipes"]
