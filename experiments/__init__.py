"""What is run: the paper's tables as declared matrices, and the command that runs them."""
