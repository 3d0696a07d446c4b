"""Forecasting: the next steps of one or several series."""
