"""English as callers speak it: the words by which `completeness` judges how a sentence ends."""

from __future__ import annotations

import re


def words(text: str) -> frozenset[str]:
    """A set of words, from a text with blanks between them."""
    return frozenset(text.split())


def phrases(text: str) -> tuple[str, ...]:
    """Phrases, from a text with bars between them."""
    return tuple(" ".join(phrase.split()) for phrase in text.split("|"))


HESITATIONS = words("um umm uh uhh er erm hmm mm ah eh so well anyway actually basically")
HESITATION_PHRASES = phrases(
    """
    let me see | let me think | let me check | let me look | let's see | you know | i mean | kind of |
    sort of | hold on | hang on | one moment | one second | one sec | just a moment | just a second |
    just a sec | just a minute | give me a second | give me a moment | how do i say | what's it called |
    what do you call it
    """
)
ARTICLES = words("a an the my your his its our their every each another")
CONJUNCTIONS = words(
    """
    and or but nor because if while although unless until till than whether which plus or either
    """
)
PREPOSITIONS = words(
    """
    of to for from with without at in on into onto about between during through toward towards per via
    by under near regarding before after around since against across behind beside like as
    """
)
AUXILIARIES = words(
    """
    is are was were am be been being do does did can could will would should might must shall has had
    have isn't aren't wasn't weren't
    """
)
CONTRACTIONS = words(
    """
    i'd i'll i'm i've we'd we'll we're we've you're you'll they're they'll it's that's there's he's
    she's what's where's who's it'll that'll there'll name's number's
    """
)
SUBJECTS = words("i we they he she")
DEGREES = words(
    """
    very really quite just only also even some any gonna wanna gotta trying called named mr mrs ms dr
    mister doctor
    """
)
DEMANDING = words(
    """
    need want make get know tell ask speak talk find buy send give bring take book reserve schedule have
    calling looking wondering hoping see confirm add mention discuss speaking wanted needed
    """
)
VERBS = words(
    """
    add agree answer arrive ask believe break book bought bring broke broken build built buy call came
    can't cancel change charge check choose chose close come confirm cost did didn't do don't doesn't
    drive drop eat expect fall feel fell felt find fix forget forgot found gave get give go got guess
    had happen hear heard help hope hurt keep kept know knew leave left let like live locate look lose
    lost love made mail make mean meant meet met mind miss move need open order own pay paid pick play
    prefer put read receive remember repeat reply run said sat saw say see seem sell send sent set show
    sign sit sleep sold sound speak spell spend spoke stand start stay stop stopped take talk tell thank
    think thought took transfer travel tried try turn understand use wait walk want went won't work
    worked write wrote
    """
)
IMPERATIVES = words(
    """
    please tell give send call let put transfer connect cancel book make change take bring repeat say
    show help find check add remove wait stop try hold
    """
)
MAY_END = words("cancel reschedule order change pay move check return leave call help")
QUESTION_WORDS = words("what what's who who's whose where where's when when's which how how's why")
ASKING = words(
    """
    is are was were am do does did can could will would should may might have has shall don't isn't
    aren't can't won't
    """
)
PRONOUNS = words("i you we it they he she there that this")
MONTHS = words("january february march april june july august september october november december")
GREETINGS = phrases(
    """
    hello | hi | hey | hi there | hello there | hey there | good morning | good afternoon | good evening
    | yes hello | yes hi | excuse me | sorry | pardon me | oh | oh yes | oh hi | oh hello | okay so |
    right so
    """
)
WHOLE = phrases(
    """
    yes | yeah | yep | yup | no | nope | nah | sure | okay | ok | right | correct | exactly | perfect |
    great | fine | thanks | bye | goodbye | absolutely | definitely | please | yes please | no thanks |
    thank you | no thank you | yes thank you | that's right | that's correct | that's all | that's it |
    that's fine | of course | sounds good | all right | alright | bye bye | thank you very much | thanks
    a lot | i think so | i don't think so | i hope so | i guess so | not really | maybe | probably | i
    don't know | i'm not sure | what | who | when | where | why | how | pardon | stop | go ahead | never
    mind | not yet | why not | i see | me too | that's not it | nothing else | that's everything |
    that'll be all | that will be all | how much | how many | how long | i did | i do | i am | it is |
    we are | we do | i have | i can | i would | i was | i will
    """
)
SHORT_ANSWER = re.compile(
    r"^(?:(?:yes|yeah|yep|no|nope|sure|oh|well|okay|of course|actually) )+"
    r"(?:i|we|it|he|she|they|you|that|there)"
    r"(?: (?:really|certainly|definitely|still|actually))? \w+(?:n't)?$"
)
NEGATED = re.compile(r"^(?:i|we|it|he|she|they|you|that|there) \w+n't$")
STRANDED = re.compile(
    r"(?:speaking|talking|speak|talk) (?:to|with)$|"
    r"(?:is|'s|was|are) (?:it|this|that|they|these|you|he|she)(?: all)? "
    r"(?:for|about|like|from|at|in|of)$|"
    r"(?:come|log|check|sign|fill|drop|get|hand|go|hang|hold|carry) (?:in|on)$|"
    r"(?:have|do) (?:i|you|we) (?:have to|need to)$|"
    r"\b(?:what|where|when|who|how|how much|how long) (?:it|that|this|he|she|they|these|we|you) "
    r"(?:is|are|was|were)$|"
    r"looking (?:at|for)$|to look (?:at|for)$"
)
# What recognisers write for "to", "and" and "with" at the end of a breath, unless these words come before.
SOUND_ALIKES = {
    "too": words("me you that it him her them us this me is"),
    "end": words("the an to will it this week weeks its dead"),
    "way": words(
        "the a an this that any no by my your his one other either half all long some right wrong which"
    ),
}
BARE_REQUEST = re.compile(
    r"(?:^| )(?:i|we|you)(?:'d| would|'m| am|'re| are| just| really)* (?:need|want|like|looking for|order) "
    r"(?:a|an|some|another) (?:\w+ )?\w+$"
)
# "Can I get them": what recognisers make of "Can I get a".
BARE_OBJECT = re.compile(
    r"^(?:can|could|may) (?:i|we) (?:get|have|speak|talk|see)(?: to| with)? (?:them|that|it|him)$"
)
INDIRECT = re.compile(r"^(?!how)\w.* how (?:much|many|long|far|often)$")
# "Could you tell me": a request whose object is still to come.
REQUEST_FRAME = re.compile(
    r"\b(?:can|could|would|will) you(?: please)? (?:tell|give|show|send|bring|get) (?:me|us)(?: please)?$|"
    r"^(?:please )?(?:tell|give|show|send|bring) (?:me|us)$|\blet (?:me|us) know$|"
    r"\b(?:i'd|i would) like to (?:know|ask|find out)$|"
    r"\bi (?:want|wanted|need|needed) to (?:know|ask|find out)$"
)
# These may be the whole of it, or its beginning.
POSSIBLE_FRAME = re.compile(
    r"^(?:can|could|would|will) you(?: please)?(?: (?:check|confirm|explain|help me))?$|"
    r"\b(?:tell (?:me|us)|know|ask|find out|check) (?:what|which) "
    r"(?:time|day|days|date|kind|sort|type|size|hours|room|number)$"
)
CLOSING = re.compile(
    r"\b(?:thank you|thanks|thank you very much|thank you so much|thanks a lot|thanks for your help|"
    r"thank you for your help|that is all|that's all|that will be all|that'll be all|that's everything|"
    r"that is everything)$"
)
OPEN_QUESTION = re.compile(r"\b(?:help|assist|do for you|calling about|anything else|what else)\b")
BARE_SUBJECT = re.compile(
    r"\b(?:whether|if|because|unless|until) (?:i|you|he|she|it|we|they|there)$|"
    # Recognisers write "you" for a "to" at the end of a breath: "I want you", "a table for you".
    r"\b(?:i|we) (?:want|need|have|like|would like|wanted) you$|\b(?:table|room|appointment|seat) for you$"
)
LABEL_ONLY = re.compile(
    r"^(?:(?:yes|okay|sure|so|and|well|oh) )*(?:my|the|our|his|her)(?: \w+){0,2} "
    r"(?:name|number|address|email|phone|birthday|date of birth|"
    r"zip code|order|account|reservation|appointment|code)$"
)
OPEN_REQUEST = re.compile(
    r"(?:i'd like|i would like|i want|i need|i wanted|we'd like|can i|could i|i'm calling|i was hoping)\b.* "
    r"(?:book|reserve|make|schedule|set up|get|order|change|move|cancel|reschedule|place)(?: \w+)? "
    r"(?:a|an|my|the|our|another) (?:\w+ )?"
    r"(?:table|reservation|booking|appointment|room|order|pizza|flight|ticket|car|delivery|taxi|cab|meeting|"
    r"haircut|checkup)$"
)
EMAIL_CUE = re.compile(r"\be-?mail\b")
EMAIL = re.compile(
    r"\S@\S+\.[a-z]{2,}|\b(?:dot|\.) ?(?:com|org|net|edu|gov|co|io|uk|de|info|biz)\b|"
    r"\.(?:com|org|net|edu|io|uk)\b"
)
TRAILS_OFF = re.compile(r"(?:\.\.\.|…|,|-|—|–|:)\s*$")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+")
