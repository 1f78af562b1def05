"""The only I/O towards targets: one module a way of reaching them."""
