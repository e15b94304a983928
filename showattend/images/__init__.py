"""Image files, and the way from a photograph to the network's input and back."""
