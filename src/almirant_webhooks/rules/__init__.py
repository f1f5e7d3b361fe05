"""The rules of the contract as pure functions: no input or output, and no clock."""
