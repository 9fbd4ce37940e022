"""Fuzz target: reading a description, and answering it, raises our own exception type or nothing."""

from salam import ProtocolError
from sfu import Candidate, Fingerprint, LocalTransport, answer_publish_offer, parse_description

_LOCAL = LocalTransport(
    ufrag="ufragufr",
    password="passwordpasswordpassword",
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32)),
    candidates=(Candidate("udp", "127.0.0.1", 40_000),),
    setup="passive",
)

_HASH = ":".join(["0A"] * 32)
_TRANSPORT = f"a=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 24}\r\na=fingerprint:sha-256 {_HASH}\r\na=setup:actpass\r\n"
_HEAD = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\n"
_AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 0.0.0.0\r\n" + _TRANSPORT + "a=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n"
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n"
    "a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=ssrc:1 cname:x\r\n"
)
_VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102\r\nc=IN IP4 0.0.0.0\r\n" + _TRANSPORT + "a=mid:1\r\na=sendonly\r\n"
    "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
    "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    "a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n"
    "a=rid:q send\r\na=rid:f send\r\na=simulcast:send q;~f\r\na=ssrc-group:FID 5 6\r\na=ssrc:5 cname:x\r\n"
)

SEEDS: list[bytes] = [
    (_HEAD + _AUDIO + _VIDEO).encode(),
    (_HEAD.replace("0 1", "1") + _VIDEO).encode(),
    (_HEAD + _AUDIO + "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n").encode(),
]


def one_input(data: bytes) -> None:
    """Parse ``data``, answer it when it is an offer, and read the answer back: what we write, we accept."""
    try:
        offer = parse_description(data.decode(errors="replace"))
        offer.transport_section()
        answer = answer_publish_offer(offer, _LOCAL, session_id=1, version=1)
    except ProtocolError:
        return
    parsed = parse_description(answer.sdp)
    assert [section.mid for section in parsed.sections] == [section.mid for section in offer.sections]
