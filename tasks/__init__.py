"""The built-in tasks, one YAML file each; a file whose name starts with `_` is a base that others include."""
