"""What all services stand on. Knows no service."""
