"""Types for liminal.yml: a task that asks a URL, an executor with a queue, an image of Alpine."""
