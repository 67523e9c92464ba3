"""Pictures that move: who is shown, through which camera, in which light, and the files that it goes to."""
