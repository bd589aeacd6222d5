"""What keeps the harness from working or measuring well here, and what mends it."""
