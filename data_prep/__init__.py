"""Raw files to prepared scenes: one module a dataset, each also a command (``python -m data_prep.<name>``)."""
