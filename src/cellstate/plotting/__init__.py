"""Figures: one canvas, one theme, in light and in dark."""
