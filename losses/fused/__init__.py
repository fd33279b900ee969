"""The DSD loss in two passes over the logits, on CPUs in C and anywhere in torch."""
