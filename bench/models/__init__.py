"""Models: build, pretrained weights, parameters and MACs."""
