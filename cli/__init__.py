"""The `vlmrm` command: it talks, `gym_vlmrm` decides. One file per command; `main` lists them."""
