"""Extensions of PBXs that the service registers."""
