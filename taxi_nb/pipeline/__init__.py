"""What runs notebooks. It knows nothing about taxis."""
