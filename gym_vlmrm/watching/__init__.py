"""A trained policy while it acts: in a page of the browser, or in a window."""
