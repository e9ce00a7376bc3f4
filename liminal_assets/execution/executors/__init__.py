"""The built-in types of executors: one module each, called like the type."""
