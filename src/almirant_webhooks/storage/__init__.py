"""What is stored, and the engines that store it."""
