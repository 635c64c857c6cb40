"""The tools that move, save and check what is stored, and the command line."""
