"""Causes of ITU-T Q.850 (05/2018): why an ISDN or mobile call ended, as `Reason: Q.850;cause=N` tells it.

RFC 3326 is the header, RFC 3398 the mapping to SIP.
"""

from __future__ import annotations

from dataclasses import dataclass

from sip import codes


@dataclass(frozen=True)
class Cause:
    """One cause."""

    number: int
    name: str
    meaning: str

    @property
    def sip(self) -> int:
        """The SIP code that a gateway makes of it; 0 for 16, which is a BYE or a CANCEL."""
        return 0 if self.number == 16 else codes.from_q850(self.number)


CAUSES = {
    cause.number: cause
    for cause in (
        Cause(1, "Unallocated number", "nobody has this number"),
        Cause(2, "No route to transit network", "the network on the way is not known"),
        Cause(3, "No route to destination", "no way leads to this number"),
        Cause(4, "Send special information tone", "the number cannot be reached for a long time"),
        Cause(5, "Misdialled trunk prefix", "a prefix was dialled that does not belong there"),
        Cause(6, "Channel unacceptable", "the channel of the ISDN line cannot be used"),
        Cause(7, "Call awarded in an established channel", "the call comes on a channel that is there"),
        Cause(8, "Preemption", "a more important call took the line"),
        Cause(9, "Preemption, circuit reserved", "a more important call will take the line"),
        Cause(14, "Query on release: ported number", "the number was moved to another carrier"),
        Cause(16, "Normal call clearing", "somebody hung up"),
        Cause(17, "User busy", "the callee is busy"),
        Cause(18, "No user responding", "the callee's phone gave no sign"),
        Cause(19, "No answer from user", "it rang, and nobody answered"),
        Cause(20, "Subscriber absent", "the mobile phone is off or out of reach"),
        Cause(21, "Call rejected", "the callee, or a filter on the way, declined"),
        Cause(22, "Number changed", "the number is not in use any more"),
        Cause(23, "Redirection to new destination", "the call is sent on to another number"),
        Cause(24, "Call rejected by a feature at the destination", "a service such as a black list declined"),
        Cause(25, "Exchange routing error", "the call ran in circles between exchanges"),
        Cause(26, "Non-selected user clearing", "another phone of the callee got the call"),
        Cause(27, "Destination out of order", "the line of the callee is broken"),
        Cause(28, "Invalid number format", "the number has too few digits, or the wrong form"),
        Cause(29, "Facility rejected", "the network does not give a service that was asked for"),
        Cause(30, "Response to status enquiry", "an answer between exchanges, no end of a call"),
        Cause(31, "Normal, unspecified", "nothing is wrong, and no reason is told"),
        Cause(34, "No circuit available", "all lines are taken"),
        Cause(38, "Network out of order", "a network on the way is down"),
        Cause(39, "Permanent frame mode connection out of service", "a data connection is down"),
        Cause(40, "Permanent frame mode connection operational", "a data connection is up"),
        Cause(41, "Temporary failure", "a network on the way failed for the moment"),
        Cause(42, "Switching equipment congestion", "an exchange is overloaded"),
        Cause(43, "Access information discarded", "what was sent along could not be delivered"),
        Cause(44, "Requested circuit not available", "the line that was asked for is taken"),
        Cause(46, "Precedence call blocked", "only more important calls get through"),
        Cause(47, "Resource unavailable, unspecified", "something that the call needs is not there"),
        Cause(49, "Quality of service unavailable", "the network cannot give the quality demanded"),
        Cause(50, "Requested facility not subscribed", "the line has no contract for this service"),
        Cause(53, "Outgoing calls barred within CUG", "the line may not call out of its group"),
        Cause(55, "Incoming calls barred within CUG", "the callee takes calls of its group only"),
        Cause(57, "Bearer capability not authorised", "the line may not make this kind of call"),
        Cause(58, "Bearer capability not presently available", "this kind of call is not possible now"),
        Cause(62, "Inconsistent access information", "what was asked for contradicts itself"),
        Cause(63, "Service not available, unspecified", "the service is not there for this line"),
        Cause(65, "Bearer capability not implemented", "the far end has no such codec or kind of call"),
        Cause(66, "Channel type not implemented", "the far end has no such channel"),
        Cause(69, "Requested facility not implemented", "the far end has no such service"),
        Cause(70, "Only restricted digital information", "the line carries no clear 64 kbit/s"),
        Cause(79, "Service not implemented, unspecified", "the far end cannot do this"),
        Cause(81, "Invalid call reference", "the exchange has no such call"),
        Cause(82, "Identified channel does not exist", "there is no such channel"),
        Cause(83, "A suspended call exists, but not this one", "the wrong call is to be resumed"),
        Cause(84, "Call identity in use", "the name of the suspended call is taken"),
        Cause(85, "No call suspended", "there is nothing to resume"),
        Cause(86, "Call was cleared", "the suspended call ended meanwhile"),
        Cause(87, "User not a member of the CUG", "the callee takes calls of its group only"),
        Cause(88, "Incompatible destination", "the callee cannot take this kind of call, such as a fax"),
        Cause(90, "Non-existent CUG", "there is no such group"),
        Cause(91, "Invalid transit network selection", "the network on the way is written wrongly"),
        Cause(95, "Invalid message, unspecified", "an exchange did not understand another"),
        Cause(96, "Mandatory information missing", "an exchange left out something"),
        Cause(97, "Message type not implemented", "an exchange does not know a message"),
        Cause(98, "Message not compatible with the call", "a message came at the wrong time"),
        Cause(99, "Information element not implemented", "an exchange does not know a part of a message"),
        Cause(100, "Invalid information element contents", "a part of a message is wrong"),
        Cause(101, "Message at the wrong time", "an exchange lost track of the call"),
        Cause(102, "Recovery on timer expiry", "an answer did not come in time"),
        Cause(103, "Parameter not implemented, passed on", "an exchange passed on what it does not know"),
        Cause(110, "Message discarded", "an exchange threw away what it does not know"),
        Cause(111, "Protocol error, unspecified", "two exchanges did not understand each other"),
        Cause(127, "Interworking, unspecified", "a network on the way tells no reason"),
    )
}

_CLASSES = (
    (15, "the number or the way to it"),
    (31, "the ordinary end of a call"),
    (47, "lines or equipment are missing"),
    (63, "the service is not there, or not for this line"),
    (79, "the far end cannot do this"),
    (95, "a message between exchanges is wrong"),
    (111, "exchanges did not understand each other"),
    (127, "a network on the way tells no reason"),
)


def explain(number: int) -> Cause | None:
    """The cause; one that is not known says what its class means. None for what is no cause (1 to 127)."""
    if not 1 <= number <= 127:
        return None
    if known := CAUSES.get(number):
        return known
    return Cause(number, "", next(meaning for last, meaning in _CLASSES if number <= last))
