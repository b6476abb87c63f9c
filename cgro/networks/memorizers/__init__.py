"""Robust memorizers: one function per construction, from labelled points to a ReLU network and its claimed size."""
