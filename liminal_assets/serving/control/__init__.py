"""What decides which release answers, and keeps the processes up that do."""
