"""What a capture is: schema, shards, loading, readers, and the synthetic light stage."""
