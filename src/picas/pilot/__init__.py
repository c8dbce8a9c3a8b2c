"""What a pilot is made of: runner processes, their crew, the lease, limits of time, and what it leaves on disk."""
