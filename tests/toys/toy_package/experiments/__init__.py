"""Experiments that compute nothing."""
