"""The revisions. Each is written once and never changed: what it says is what histories out there hold."""
