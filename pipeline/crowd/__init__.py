"""What people have said about pictures, as other tools export it: read once here, for training and for feedback alike.

Names of people are dropped where a file is read; what is kept of them is only how many they were.
"""
