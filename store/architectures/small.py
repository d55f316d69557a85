"""PyTorch's tutorial network."""

from typing import Annotated, Any

from pydantic import Field

from store.architectures.base import Architecture, LayoutError, Shape, Width, affine


class Cnn(Architecture):
    """PyTorch's CIFAR-10 tutorial network: two 5x5 convolutions with pooling, three linear layers."""

    name = "cnn"
    input_shape: Annotated[list[Width], Field(min_length=3, max_length=3)] | None = None

    def layout(self) -> dict[str, Shape]:
        """Keys conv1, conv2, fc1, fc2, fc3, each with weight and bias."""
        assert self.input_shape is not None
        assert self.classes is not None
        channels, height, width = self.input_shape
        flat = 16 * self._after(height) * self._after(width)
        return (
            affine("conv1", 6, channels, 5, 5)
            | affine("conv2", 16, 6, 5, 5)
            | affine("fc1", 120, flat)
            | affine("fc2", 84, 120)
            | affine("fc3", self.classes, 84)
        )

    def accepts(self, input_shape: Shape) -> bool:
        """Exactly (channels, height, width)."""
        return list(input_shape) == self.input_shape

    def expects(self) -> str:
        """The items the network takes, in words."""
        return f"items of shape {self.input_shape}"

    @staticmethod
    def _after(size: int) -> int:
        """Side length after conv 5, pool 2, conv 5, pool 2."""
        return ((size - 4) // 2 - 4) // 2

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        shape = self.input_shape or (list(input_shape) if input_shape is not None else None)
        if shape is None:
            raise LayoutError("say input_shape: the project has no pool yet to take it from")
        if len(shape) != 3 or min(self._after(side) for side in shape[1:]) < 1:
            raise LayoutError(
                f"a cnn takes items of shape [channels, height, width] with sides of at least 16, not {shape}"
            )
        return {"input_shape": shape}
