"""What captions get wrong."""
