"""Other libraries that do the same job, each as its users would set it up."""
