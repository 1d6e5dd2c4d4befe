"""Pages: what an audit or a run found, as one HTML file each."""
