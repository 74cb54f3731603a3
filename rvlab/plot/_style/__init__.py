"""Colors, fonts, heat cells, pixel images and text wrapping that all plots share."""
