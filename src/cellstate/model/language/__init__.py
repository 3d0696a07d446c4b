"""Language models: the next character or token, with state carried from batch to batch."""
