"""The settings and the command line of DeSD pre-training."""
