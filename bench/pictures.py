"""Pictures."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    title: str
    said: str
    png: bytes
    width: int
    height: int
    kind: str = "picture"

    @property
    def base64(self) -> str:
        return base64.b64encode(self.png).decode()
