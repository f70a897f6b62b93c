"""The image and the services, without a container engine: read, linted, and run as processes."""
