"""Devices, processes, precision and random states."""
