"""What the commands on unbinned measurements do."""
