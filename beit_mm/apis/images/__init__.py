"""Images in every form that people have them in, made into the input of a model."""
