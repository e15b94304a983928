"""Numbers of captions and of maps as a whole."""
