"""Language modelling: the next character or token, with state carried across batches."""
