"""Written for Apache Liminal."""

from liminal.build.image_builder import ImageBuilder


class SpecialImageBuilder(ImageBuilder):
    @staticmethod
    def _dockerfile_path():
        return "Dockerfile"
