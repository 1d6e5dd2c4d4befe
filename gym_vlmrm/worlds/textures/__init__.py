"""Pictures that the scenes are covered with, and the script that makes them."""
