"""Types of images: a module each, called like the type, with one public image builder."""
