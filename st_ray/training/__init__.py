"""Training: losses, batches, the loop and what it leaves. No Ray."""
