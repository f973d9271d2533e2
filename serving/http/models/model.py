"""A model that is open for requests."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import polars as pl

from detector.columns import Encoded
from detector.errors import SettingError
from detector.graph import Outputs
from detector.images import DecodedImage, ImageSpec, UnreadableImage, decode
from detector.rejects import Reject
from detector.scorer import NO_REASONS, Scorer, Verdicts
from detector.windows import MOST_KEYS
from serving import model
from serving.codecs.json_body import BodyDecoder
from serving.heatmap import draw_heatmap, heat
from serving.model import Judged, explain


class Model(model.Model):
    """One version of one name, which reads bodies too."""

    def __init__(self, name: str, scorer: Scorer, most_keys: int = MOST_KEYS) -> None:
        super().__init__(name, scorer, most_keys)
        self.body = BodyDecoder(self.columns, self.numbers)

    def judge_windows(self, encoded: Encoded, length: int) -> Judged:
        """Judge whole windows of a series, `length` rows each, every one for itself: by whether its score is above the threshold.

        A window that holds a rejected row is not judged; explains none.
        """
        whole = np.asarray(encoded.accepted.reshape(-1, length).all(axis=1))
        columns = encoded.matrix.shape[1]
        rows = np.zeros((len(encoded.accepted), columns))
        rows[encoded.accepted] = encoded.matrix
        windows = rows.reshape(-1, length, columns)[whole]
        scorer = self.scorer
        score = scorer.graph.scores(windows) if len(windows) else np.empty(0)
        verdicts = Verdicts(
            score=score,
            p_value=scorer.calibration.p_values(score),
            is_anomaly=scorer.manifest.decision.is_anomaly(score),
            reasons=NO_REASONS,
            accepted=whole,
            rejects=encoded.rejects,
            infinite=encoded.infinite,
        )
        return self._watched(Judged(verdicts, np.flatnonzero(whole), encoded.rejects, windows[:, -1]))

    def judge_image(self, content: bytes, top: int) -> Judged:
        """Judge a PNG or JPEG image; explains it by `top` regions if it is an anomaly.

        Raises:
            SettingError: the detector learnt from rows of tables, or Pillow is not installed.
        """
        image = self._image()
        try:
            picture = decode(io.BytesIO(content), image)
        except UnreadableImage as error:
            empty = Encoded(np.empty((0, image.values)), np.zeros(1, dtype=bool), [], 0)
            judged = self.judge_matrix(empty)
            return judged._replace(rejects=[Reject(0, "", error.found, error.expected)])
        return self._judge_picture(picture, top)

    def draw_image(self, content: bytes, top: int) -> tuple[Judged, bytes]:
        """Judge an image as `judge_image` does, and draw where the error is, as a PNG.

        Raises:
            SettingError: as `judge_image`.
            Unreadable: it is no image that can be taken.
        """
        image = self._image()
        picture = decode(io.BytesIO(content), image)
        outputs = self.scorer.graph.explain(picture.values[None].astype(np.float64))
        judged = self._judge_picture(picture, top, outputs)
        contribution = outputs.contribution.reshape(image.height, image.width)
        warm = heat(contribution, float(outputs.score[0]), self.scorer.manifest.decision.threshold)
        return judged, draw_heatmap(lambda view: decode(io.BytesIO(content), view), warm)

    def _image(self) -> ImageSpec:
        """Give what the detector sees of a file."""
        image = self.scorer.manifest.image
        if image is None or not image.files:
            raise SettingError(f"{self.name} judges rows, not files of images")
        if find_spec("PIL") is None:
            raise SettingError("this service has no Pillow to read images: pip install '.[images]' in Residuum's folder")
        return image

    def _judge_picture(self, picture: DecodedImage, top: int, outputs: Outputs | None = None) -> Judged:
        """Judge an image that is decoded; `outputs` is what the graph says of it, where it was asked already."""
        matrix = picture.values[None].astype(np.float64)
        size = pl.DataFrame({"width": [picture.original.width], "height": [picture.original.height]})
        encoded = Encoded(matrix, np.ones(1, dtype=bool), [], 0)
        verdicts = self.scorer.judge(encoded, lambda _: size, explain=explain(top), top=top, outputs=outputs)
        return self._watched(Judged(verdicts, [0], [], matrix))
