"""The SDK for programs that do other things while they wait."""
