"""What a task is: its specification, its rule of success, the YAML file, the catalog of names."""
