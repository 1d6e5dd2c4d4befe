"""What others recorded, as frames: pictures, films, data sets; and what a reward model says of them."""
