"""What is wrong with a trunk, a rule or a registration, before a server is asked."""
