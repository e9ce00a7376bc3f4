"""The built-in types of tasks: one module each, called like the type."""
