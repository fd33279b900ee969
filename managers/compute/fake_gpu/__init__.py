"""A CUDA GPU that is not there: what a step would launch, move, keep and wait for on one."""
