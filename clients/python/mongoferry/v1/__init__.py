"""Generated from proto/mongoferry/v1."""
