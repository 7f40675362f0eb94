"""The way back: votes and answers of people become verdicts in the lake, measured precision, and questions to ask next."""
