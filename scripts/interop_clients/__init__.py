"""What `scripts/interop` is made of: the referee, the features, the clients, and the tap between them."""
