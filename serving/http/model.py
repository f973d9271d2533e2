"""A model that is open for requests."""

from __future__ import annotations

from detector.scorer import Scorer
from serving import model
from serving.http.body import BodyDecoder


class Model(model.Model):
    """One version of one name, which reads bodies too."""

    def __init__(self, name: str, scorer: Scorer) -> None:
        super().__init__(name, scorer)
        self.body = BodyDecoder(self.columns, self.numbers)
