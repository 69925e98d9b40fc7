"""What is checked before a training: its config and the files of its data sets."""
