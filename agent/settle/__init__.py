"""Turning acknowledged receipts into money. A rail is added here and in the registry."""
