"""What answers prove: which rows people see, what their answers say of the set, and whether it passes."""
