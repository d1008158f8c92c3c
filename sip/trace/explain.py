"""What went wrong in a call, from its messages and streams. Pure: each check is a function of the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sip import advice, codes
from sip.address import private
from sip.finding import Finding, ordered, sentence
from sip.q850 import CAUSES
from sip.quality import satisfaction
from sip.trace.calls import Call
from sip.trace.messages import Message
from sip.trace.rtp import Stream

LOSS, JITTER, GAP, MOS = 1.0, 0.030, 0.5, 3.6
"""From here on it is worth a word: percent, seconds, seconds, mean opinion score."""
SHORT = 2.0
"""Seconds: a call that ends sooner says nothing about its audio."""
FRAGMENTED = 1_300
"""Bytes of a UDP message that may not fit one packet (RFC 3261 18.1.1)."""
EXPIRED = 16.0
"""Seconds without an answer after which an INVITE has failed, half of timer B; before, the capture may have
ended too soon."""


def explain(call: Call, *, rtp_seen: bool, end: float) -> list[Finding]:
    """Everything worth saying about a call, gravest first.

    `rtp_seen`: the capture holds RTP at all; `end`: time of its last packet.
    """
    findings = [finding for check in _CHECKS for finding in check(call)]
    if call.answered:
        findings += _audio(call, rtp_seen)
    if call.invite and call.final is None:
        findings += _unfinished(call, end)
    for stream in call.streams:
        findings += _stream(stream)
    return ordered(findings)


def _refused(call: Call) -> Iterator[Finding]:
    final = call.final
    if final is None or final.code < 300:
        return
    code, who = final.code, final.source
    if call.method == "INVITE" and code == 487:
        by = "the caller gave up" if _cancelled(call) else "the call was taken back"
        rang = f" after {final.t - call.rang:.0f} s of ringing" if call.rang else " before it rang"
        yield Finding("cancelled", "info", f"No answer: {by}{rang}.")
        return
    text = f"{who} refused with {code} {codes.phrase(code)}: {codes.meaning(code)}."
    cause = next((m for m in call.messages if m.code == code and (m.cause or m.reason)), None)
    if cause:
        text += f" It says: {cause.reason}."
    if code in (401, 407):
        tries = call.invites
        if len(tries) > 1 and tries[-1].authorized:
            yield Finding(
                "wrong-credentials",
                "error",
                f"{who} challenged, got credentials, and refused them with {code}: user, password or realm"
                " is wrong.",
                "Compare auth_username and auth_password of the trunk with those of the other side"
                " (sip trunk outbound update NAME --auth-user … --auth-pass …).",
            )
        else:
            yield Finding(
                "no-credentials",
                "error",
                f"{who} asked for credentials ({code}), and the caller has none.",
                "Give the trunk auth_username and auth_password, or have the source address allowed.",
            )
    elif code in (415, 488, 606):
        yield _no_common_codec(call, text)
    else:
        told = advice.explain(code)
        yield Finding(
            f"refused-{code}",
            "error",
            text,
            f"{sentence(told.advice.mend if told else '')} More: sip code {code}".strip(),
        )


def _cancelled(call: Call) -> bool:
    return any(each.request and each.method == "CANCEL" for each in call.messages)


def _no_common_codec(call: Call, text: str) -> Finding:
    offer = next((each.sdp for each in call.messages if each.sdp), None)
    if offer is None:
        return Finding(
            "no-common-codec",
            "error",
            f"{text} The INVITE brought no SDP (late offer).",
            "Have the far end offer in the INVITE: LiveKit's SIP takes no late offer.",
        )
    secure = ", with SRTP demanded" if "SAVP" in offer.profile else ""
    return Finding(
        "no-common-codec",
        "error",
        f"{text} Offered: {', '.join(offer.codecs) or 'nothing that is known here'}{secure}.",
        "Allow PCMU or PCMA on both sides" + (" and the same media encryption." if secure else "."),
    )


def _answer_codec(call: Call) -> Iterator[Finding]:
    pair = call.descriptions()
    if not pair or not call.answered:
        return
    (_, offer), (_, answer) = pair
    if offer.codecs and answer.codecs and not set(offer.codecs) & set(answer.codecs):
        yield Finding(
            "no-common-codec",
            "error",
            f"The answer names {', '.join(answer.codecs)}, of which the offer had none"
            f" ({', '.join(offer.codecs)}).",
            "Set the codecs of both sides so that they share PCMU or PCMA.",
        )


def _missing_ack(call: Call) -> Iterator[Finding]:
    final = call.final
    if final is None or final.code >= 300 or not call.invite:
        return
    acked = any(each.request and each.method == "ACK" and each.t >= final.t for each in call.messages)
    if acked:
        return
    again = sum(1 for each in call.repeats if each.code == final.code and each.method == "INVITE")
    if again:
        where = f" Its Contact says {final.contact}" if final.contact else ""
        note = ", a private address." if where and private(final.contact) else "." if where else ""
        yield Finding(
            "missing-ack",
            "error",
            f"No ACK came for the 200, which was sent {again + 1} times; such a call ends after 32 s."
            f"{where}{note}",
            "The ACK goes to the Contact of the 200: advertise an address that the other side reaches"
            " (SIP_ADVERTISE for sip serve, nat_1_to_1_ip for livekit-sip), and no SIP ALG in between.",
        )


def _retransmissions(call: Call) -> Iterator[Finding]:
    counts: dict[tuple[str, str], int] = {}
    for each in call.repeats:
        counts[(str(each.source), _short(each))] = counts.get((str(each.source), _short(each)), 0) + 1
    if not counts or (call.final is None and call.invite):
        return  # an INVITE that nobody answered is told of elsewhere
    listed = ", ".join(f"{what} of {who} ({times} x)" for (who, what), times in list(counts.items())[:5])
    severity = "warning" if sum(counts.values()) > 1 else "info"
    yield Finding(
        "retransmissions",
        severity,
        f"Sent again: {listed}. Messages are lost on the way, or the other side is slow to answer.",
        "Look for loss between the two; signalling over TCP is not affected by lost packets.",
    )


def _short(message: Message) -> str:
    return f"{message.code} to {message.method}" if message.code else message.method


def _private_address(call: Call) -> Iterator[Finding]:
    told: set[str] = set()
    for each in call.messages:
        if each.sdp is None or each.sdp.media.port == 0 or not private(each.sdp.media.host):
            continue
        # Inside one network such addresses are right. Port 0: an end whose address is not known.
        outside = any(end.port and not private(end.host) for end in (each.source, each.target))
        if outside and each.sdp.media.host not in told:
            told.add(each.sdp.media.host)
            yield Finding(
                "private-address-in-sdp",
                "error",
                f"The SDP of {each.source} wants audio at {each.sdp.media.host}, an address that means"
                " nothing outside its own network: the other side's audio goes nowhere.",
                "Set the public address there: use_external_ip or nat_1_to_1_ip for livekit-sip,"
                " SIP_ADVERTISE for sip serve, external_media_address for Asterisk. Turn off SIP ALG.",
                each.sdp.media.host,
            )


def _malformed(call: Call) -> Iterator[Finding]:
    for each in call.messages:
        if each.malformed:
            yield Finding(
                "malformed-message",
                "warning",
                f"{each.source} sent a message that breaks the rules ({each.malformed}):"
                f" {each.first[:80]!r}.",
            )
            return


def _fragmented(call: Call) -> Iterator[Finding]:
    large = [m for m in call.messages if m.transport == "udp" and m.size > FRAGMENTED]
    if large and call.final is None and call.invite:
        yield Finding(
            "large-message",
            "warning",
            f"{_short(large[0])} of {large[0].source} has {large[0].size} bytes: over UDP it is cut into"
            " fragments, which many firewalls drop.",
            "Use TCP for the trunk (--transport tcp), or list fewer codecs and headers.",
        )


def _ending(call: Call) -> Iterator[Finding]:
    bye = call.bye
    if bye is None:
        return
    if bye.cause and bye.cause not in (16, 31):
        yield Finding(
            "ended-with-cause",
            "warning",
            f"{bye.source} hung up with Q.850 cause {bye.cause} ({_cause(bye)}).",
            f"More: sip code q850:{bye.cause}",
        )
    if call.answered and call.duration < SHORT:
        yield Finding(
            "short-call",
            "warning",
            f"{bye.source} hung up {call.duration:.1f} s after the answer.",
            "Look at what that side logged at this moment; a failed media setup ends calls like this.",
        )
    refused = next((m for m in call.messages if m.method == "BYE" and m.code == 481), None)
    if refused:
        yield Finding("bye-unknown", "info", f"{refused.source} did not know the call any more (481).")


def _cause(message: Message) -> str:
    known = CAUSES.get(message.cause)
    return f"{known.name}: {known.meaning}" if known else message.reason


def _unfinished(call: Call, end: float) -> Iterator[Finding]:
    invite = call.invites[-1] if call.invites else call.invite
    assert invite
    replies = [each for each in call.messages if each.method == "INVITE" and each.code]
    waited = end - invite.t
    if not replies:
        again = sum(1 for each in call.repeats if each.request and each.method == "INVITE")
        sure = again >= 2 or waited > EXPIRED
        yield Finding(
            "no-response",
            "error" if sure else "info",
            f"{invite.target} never answered the INVITE, sent {again + 1} time(s)"
            + ("." if sure else f"; the capture ends {waited:.1f} s later."),
            f"Wrong address or port, a firewall, or nobody listens there: sip doctor --sip {invite.target}"
            if sure
            else "",
        )
    elif call.rang:
        yield Finding(
            "still-ringing",
            "info",
            f"It rang for {end - call.rang:.0f} s; the capture holds no answer.",
            "A call to an agent that only rings: no agent was dispatched, or it published no audio"
            " (sip doctor)."
            if end - call.rang > EXPIRED
            else "",
        )
    else:
        sure = waited > EXPIRED
        yield Finding(
            "no-final-response",
            "error" if sure else "info",
            f"After {replies[-1].code} nothing more came from {replies[-1].source} in {waited:.0f} s.",
        )


def _audio(call: Call, rtp_seen: bool) -> Iterator[Finding]:
    pair = call.descriptions()
    if call.duration < SHORT or not pair:
        return
    if not rtp_seen:
        yield Finding(
            "no-rtp-captured",
            "info",
            "The capture holds no RTP, so nothing can be said about the audio.",
            "Capture on the host that carries the media: tcpdump -i any -s 0 -w FILE.pcap udp",
        )
        return
    (first, offer), (second, answer) = pair
    to_first = [s for s in call.streams if s.target == offer.media or _from(s, answer.media, offer.media)]
    to_second = [s for s in call.streams if s.target == answer.media or _from(s, offer.media, answer.media)]
    heard_first = sum(stream.received for stream in to_first)
    heard_second = sum(stream.received for stream in to_second)
    if not heard_first and not heard_second:
        yield Finding(
            "no-audio",
            "error",
            f"Answered for {call.duration:.0f} s, and no audio went either way.",
            "A firewall drops the RTP ports, or both SDPs name addresses that cannot be reached.",
        )
        return
    sides = ((heard_first, first, offer, second), (heard_second, second, answer, first))
    for heard, mine, sdp, theirs in sides:
        if heard or not sdp.receives:
            continue
        yield Finding(
            "one-way-audio",
            "error",
            f"{mine.source} heard nothing: no audio from {theirs.source} came to {sdp.media}, while the"
            " other direction has audio.",
            f"Open {sdp.media.host} UDP port {sdp.media.port} (the whole RTP range) towards"
            f" {theirs.source.host}, and check the addresses in both SDPs.",
        )


def _from(stream: Stream, source: object, other: object) -> bool:
    """Sent from the port that was announced, to an address that was not: symmetric RTP behind a NAT."""
    return stream.source == source and stream.target != source and stream.target != other


def _stream(stream: Stream) -> Iterator[Finding]:
    way = f"{stream.source} → {stream.target}"
    rated = stream.quality
    if stream.loss >= LOSS:
        burst = f" in {stream.bursts} runs" if stream.bursts else ""
        yield Finding(
            "packet-loss",
            "error" if stream.loss >= 5 else "warning",
            f"{way} lost {stream.lost} of {stream.expected} packets ({stream.loss:.1f} %){burst}.",
            "Look at the network between the two: a full line, Wi-Fi, a busy machine that drops UDP.",
            way,
        )
    if stream.jitter_mean >= JITTER:
        yield Finding(
            "jitter",
            "warning",
            f"{way} has {stream.jitter_mean * 1000:.0f} ms of jitter (largest"
            f" {stream.jitter_max * 1000:.0f} ms).",
            "A jitter buffer helps (enable_jitter_buffer of livekit-sip); better is to prefer voice"
            " (DSCP EF).",
            way,
        )
    if stream.gap_max >= GAP:
        yield Finding(
            "gap", "warning", f"{way} was silent for {stream.gap_max:.1f} s when packets were due.", "", way
        )
    if rated.mos < MOS and stream.received > 100:
        yield Finding(
            "poor-quality",
            "warning",
            f"{way} is worth MOS {rated.mos:.1f} ({satisfaction(rated.r)}).",
            "",
            way,
        )
    if stream.unknown_payload:
        yield Finding(
            "unknown-payload",
            "warning",
            f"{way} carries payload type {stream.payload}, which its receiver did not announce.",
            "Set the same codecs on both sides.",
            way,
        )


_CHECKS: tuple[Callable[[Call], Iterator[Finding]], ...] = (
    _refused,
    _answer_codec,
    _missing_ack,
    _retransmissions,
    _private_address,
    _malformed,
    _fragmented,
    _ending,
)
