"""The settings of cross-validations and studies."""
