"""The whole of distillation on Portuguese of our own making: no download, a few minutes on two cores."""
