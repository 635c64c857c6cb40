"""Where each backend keeps what a test stores."""
