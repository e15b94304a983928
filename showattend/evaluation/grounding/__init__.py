"""Whether the model looks at what it names: attention against object masks."""
