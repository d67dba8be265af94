"""What the alarm codes of DC5 mean, in Chinese and in English. Source: DART pump interface, specification 2.11."""

from __future__ import annotations

from types import MappingProxyType

from pumpwatch import Text

MEANINGS = MappingProxyType(
    {
        0x01: Text("主板重新启动", "processor restarted"),
        0x03: Text("内存错误", "memory error"),
        0x04: Text("程序校验和错误", "program checksum error"),
        0x06: Text("编码器（脉冲）故障", "pulser fault"),
        0x07: Text("编码器（脉冲）电流异常", "pulser current fault"),
        0x09: Text("紧急停止", "emergency stop"),
        0x0A: Text("断电", "power failure"),
        0x0C: Text("调和错误", "blend fault"),
        **dict.fromkeys((0x0D, 0x0E, 0x0F), Text("泄漏", "leak")),
    }
)
FIRST_VAPOUR = 0x10
"""From here on they concern the vapour recovery."""


def meaning(code: int) -> Text:
    """A word for an alarm; one that is not known keeps its number."""
    if code in MEANINGS:
        return MEANINGS[code]
    if code >= FIRST_VAPOUR:
        return Text(f"油气回收报警 {code}", f"vapour recovery alarm {code}")
    return Text(f"报警 {code}", f"alarm {code}")
