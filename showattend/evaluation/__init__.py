"""What a model is worth: its scores, its maps, its mistakes."""
