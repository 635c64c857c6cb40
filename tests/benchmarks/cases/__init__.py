"""One module for each case; its docstring says what every contender does."""
