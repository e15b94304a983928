"""What the papers describe: encoders, attention and decoders, in plain code."""
