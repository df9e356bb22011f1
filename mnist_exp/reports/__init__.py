"""What a sweep found, as pages to pass on."""
