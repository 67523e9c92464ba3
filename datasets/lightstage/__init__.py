"""The synthetic light stage: parametric heads rendered under known light by Mitsuba 3."""
