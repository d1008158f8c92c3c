"""What callers say, as patterns: endings, requests, yes and no, small talk."""

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


FILLERS = _any(
    r"^(?:(?:uh|um|er|hmm+|oh|so|well|okay|ok|right|alright|hey|please|and|but|like|actually"
    r"|sorry(?=.*\w{3}))\b[\s,.!-]*)+"
)
HALT = _any(
    r"^(?:(?:no\b[\s,]*)?(?:stop|wait|hold on|hang on|one moment|just a (?:moment|second))\b[\s,.!]*)+"
)
BACKCHANNEL = _any(
    r"^\W*(?:mm+[- ]?h?m+|uh[- ]huh|mhm|hmm+|uh|um|ah|oh|okay|ok|right|i see|alright|sure)\W*$",
)
BYE = _any(
    r"\b(?:good ?bye|bye(?:[- ]bye)?|that(?:'s| is| was|'ll be| will be)(?: really)? (?:all|it|everything)\b"
    r"|nothing else|no more questions|(?:have|enjoy) a (?:nice|good|great|lovely) (?:day|evening|night|one)"
    r"|hang up|end the call|see you (?:then|later|soon)|talk to you later|i(?:'m| am) (?:done|all set))\b"
)
HUMAN = _any(
    r"\b(?:speak|talk|chat)(?:ing)? (?:to|with) (?:a |an |the |some |your |one of )?"
    r"(?:real |actual |live |human )*(?:human|person|people|somebody|someone|some one|agent|manager|operator"
    r"|representative|colleague|staff|desk|front desk|reception|receptionist|kitchen|boss|supervisor)",
    r"\bput me (?:through|on to)|\btransfer me|\bconnect me|\bforward me|\bput me over",
    r"\b(?:a |an |the )?(?:human|operator|real person|front desk|manager)(?: please)?\W*$",
    r"\b(?:get|give|want|need|like) (?:me )?(?:a |an |the )?"
    r"(?:human|operator|real person|manager|representative)",
)
REPEAT = _any(
    r"\b(?:repeat (?:that|it|please|what)|say (?:that|it) again|come again|what did you (?:just )?say)\b",
    r"\b(?:did ?n[o']t|could ?n[o']t|can ?not|can't) (?:hear|catch|get|understand) (?:that|you|it|what)\b",
    r"^\W*(?:repeat|again|sorry|what|excuse me|pardon me)\W*$",
)
MY_NAME = _any(r"\b(?:what(?:'s| is| was)|(?:do you )?(?:know|remember)|tell me|say) my name\b")
MY_NUMBER = _any(r"\b(?:what(?:'s| is| was)|repeat|read back) (?:my|the) (?:phone |telephone )?number\b")
MY_BOOKING = _any(r"\b(?:what|repeat|read).{0,20}\bmy (?:booking|reservation)\b|\bwhat did i book\b")
SPELL = _any(r"\bspell\b(?:\s+(?:the word|my name|it|that|out))?\s*(?P<word>[A-Za-z]{2,})?")
CANCEL = _any(r"\b(?:cancel|never ?mind|forget (?:it|that|about it)|don't want (?:it|that|a|the))\b")
NUMBER = _any(r"\b(?:number|phone|telephone|reach me|call me|mobile|cell)\b")
YES = _any(
    r"^\W*(?:yes|yeah|yep|yup|correct|right|exactly|sure|that's right|that is right|perfect|please do"
    r"|of course|okay|ok|great|fine|good|sounds good|that works|certainly|absolutely|definitely|do it)\b"
)
NO = _any(r"^\W*(?:no|nope|nah|not (?:right|correct|quite|really|yet|at all)|wrong|i'm (?:fine|good))\b")
GREETING = _any(
    r"^\W*(?:hello|hi|hey|good (?:morning|afternoon|evening|day)|greetings)\b[\s,.!]*(?:there)?\W*"
)
HOW_ARE_YOU = _any(r"\bhow are you\b|\bhow do you do\b|\bhow(?:'s| is) it going\b")
WHO = _any(
    r"\b(?:who are you|who am i (?:speaking|talking)|who is this|what(?:'s| is) your name|what are you)\b"
)
ROBOT = _any(r"\bare you (?:a |an )?(?:real|human|robot|machine|bot|person|computer|ai|artificial)\b")
HELP = _any(r"\b(?:what can you do|how can you help|can you help|help me|i need (?:some )?help)\b")
THANKS = _any(r"\b(?:thank you|thanks|cheers|appreciate)\b")
CAN_HEAR = _any(r"\b(?:can|do) you hear me\b|\bare you (?:still )?there\b|^\W*hello\?\W*$")
CLOCK = _any(r"\bwhat time is it\b|\bwhat(?:'s| is) the time\b|\bdo you have the time\b")
DATE = _any(r"\bwhat day is (?:it|today)\b|\bwhat(?:'s| is) (?:the date|today's date|today)\b")
JOKE = _any(r"\b(?:tell me a joke|joke)\b")
WEATHER = _any(r"\bweather\b|\braining\b|\bsunny\b")
QUESTION = _any(
    r"\?",
    r"^\W*(?:what|when|where|who|which|why|how|do|does|did|is|are|can|could|may|will|would|have|has)\b",
)
ASKING = _any(r"\b(?:tell me|know|wondering|question|about|wonder)\b")
