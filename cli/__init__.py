"""The `vlmrm` command: it talks, `gym_vlmrm` decides. One file per command in `commands`; `main` finds them."""
