"""A reference exchange and a simulated site: what the demo and the tests run against."""
