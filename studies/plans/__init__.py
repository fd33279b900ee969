"""Planners: each turns a command line into the runs that it asks for. Imports nothing heavy."""
