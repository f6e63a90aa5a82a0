"""The live service: an OpenAI-shaped API over the registry's champion, logged before it answers."""
