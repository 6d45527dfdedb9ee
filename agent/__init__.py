"""The node agent: samples, meters, signs, keeps, streams and settles.

Layers, each importing only what stands to its right:
cli > sandbox > daemon > sampler | journal | exchange | settle > wire > core.
"""
