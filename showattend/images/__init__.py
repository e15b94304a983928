"""Reading image files, converting them to the network's input, and mapping the grid back."""
