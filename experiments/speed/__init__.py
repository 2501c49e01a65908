"""The harness raced against timm's training procedure and against the limit of the step itself."""
