"""The whole of distillation on Machado de Assis: no download, a few minutes on two cores."""
