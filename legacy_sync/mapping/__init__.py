"""The mapping language: what the YAML files of `mappings/` may say, and what they mean."""
