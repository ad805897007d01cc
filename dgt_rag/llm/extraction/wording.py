"""Phrases that the embedded model frames its messages with; the matter between them always comes from the documents."""

PEOPLE = (
    "Somebody who has just moved to the area", "A parent of two school-age children", "A student in their last year", "The owner of a small shop", "A retired couple",
    "A nurse who works shifts", "A person who looks after an elderly relative", "A newcomer who has never dealt with this before", "Someone who took this over from a colleague last week",
    "A self-employed craftsman", "A tenant in a shared flat", "A volunteer in a local club", "A member of staff in their first month", "A long-time customer",
    "Someone who is planning the next few months with care", "A person with little free time during the week", "An office manager who has to report back to a team", "A couple with a baby on the way",
    "Somebody who returned after two years abroad", "A first-time user", "A freelancer with a tight budget", "A neighbour who offered to help a friend",
)  # fmt: skip
EVENTS = (
    "has put this off for weeks and now has to act", "was told two different things by two people", "has a free afternoon to get everything settled", "received a message that raised more questions than it answered",
    "started on the matter last month and got stuck half-way", "wants to avoid a mistake that was made the year before", "has to decide by the end of the week", "lost the papers from the first time",
    "found out only yesterday that this matters", "has an appointment on Thursday and wants to come prepared", "has already tried once without success", "promised to have an answer by tomorrow morning",
)  # fmt: skip
DETAILS = (
    "Money is tight, so every charge counts.", "They cannot take more than one day off for it.", "They would rather ask once too often than get it wrong.", "A friend said that there is an exception, but could not say which.",
    "They have read a little about it and mixed two things up.", "Part of what they need may be missing.", "They will have to explain it to somebody else afterwards.", "The dates are close, which makes them nervous.",
    "They prefer short and exact answers.", "They do not know the usual terms.", "Their case differs a little from the usual one.", "They want to write down what applies, step by step.",
)  # fmt: skip
SCENES = (
    "{person} {event}. It is about {topic}. What matters most to them here: {first}; then {second}. {detail}",
    "{person} needs to sort out {topic}. What brought it up: {first}. {more} {detail}",
    "{person} {event} and has to deal with {topic}, above all with {first}. {more} {detail}",
    "For {person_low}, {topic} has become urgent. They have heard about {first}, but not how it concerns them. {more} {detail}",
    "{person} is unsure about {topic}. Open points: {first}, and also {second}. {detail} They would like to have it settled today.",
    "{person} {event}. Two things keep them busy: {first}, and {second}. What they started from was {topic}. {detail}",
    "There is a plan, and it depends on {topic}. {person} {event} and has questions about {first}. {more} {detail}",
    "{person} is making a list of what to find out about {topic}. At the top of it: {first}; further down: {second}. {detail}",
    "A small problem with {first} made {person_low} look into {topic}. {more} {detail}",
    "{person} {event}. They are not sure whether what they know about {topic} is still right, especially on {first}. {more} {detail}",
    "{person} was asked to find out about {topic}. What they need exactly: {first}, and possibly {second}. {detail}",
    "Next week {person_low} has to deal with {topic}. They understand the outline, but not what is said about {first}. {more} {detail}",
    "{person} got into a discussion about {topic}, and nobody could say for sure what holds for {first}. {more} {detail}",
    "{person} {event}. Until now they never had to think about {topic}, nor about {first}. {more} {detail}",
    "What {person_low} wants is simple: to know where they stand with {topic}. In particular, they wonder about {first}. {more} {detail}",
    "{person} would like to be sure about {topic} before doing anything. They stumbled over {first}. {more} {detail}",
)
PLAIN_SCENES = (
    "{person} {event}. It is about {topic}. {detail}",
    "{person} needs to sort out {topic}. {detail}",
    "{person} was asked to find out about {topic}. {detail}",
    "{person} {event}, and it all depends on {topic}. {detail}",
)
SECOND = (
    "Later on, they may have to ask about {second}, too.", "They also have a question about {second}.", "On top of that they wonder about {second}.", "They may need to know about {second} as well.",
    "And then there is the question of {second}.",
)  # fmt: skip

OPENINGS = (
    "I have a question about {topic}. {q}", "Hello, this is about {topic}. {q}", "Hi, I have a question regarding {topic}: {low}", "About {topic}: {low}", "Good morning. I need some information on {topic}. {q}",
    "Quick question about {topic}: {low}", "I'm looking into {topic} at the moment. {q}", "Hi there, I need help with {topic}. {q}", "It's about {topic}. {q}", "There is something I do not know about {topic}. {q}",
    "I'm not sure I understand everything about {topic}. {q}", "I'd like to know something about {topic}. {q}",
)  # fmt: skip
GREETINGS = (
    "{q}",
    "Hello. {q}",
    "Hi, {low}",
    "Quick question: {low}",
    "Good morning. {q}",
    "I hope you can help me. {q}",
    "I'd like to know: {low}",
    "Hi there. {q}",
)
NEXT = (
    "{q}",
    "{q}",
    "And {low}",
    "OK. {q}",
    "Good to know. {q}",
    "Another question: {low}",
    "I see. {q}",
    "Right. {q}",
    "One more thing: {low}",
    "Also, {low}",
    "And another thing: {low}",
    "That helps. {q}",
)
ELSEWHERE = (
    "Now about {topic}: {low}",
    "Something else, about {topic}. {q}",
    "I also have a question about {topic}. {q}",
    "And regarding {topic}: {low}",
    "Let me ask about {topic} as well. {q}",
)
LONGER = (
    "I'd rather ask before I do something wrong.", "I want to be sure that I get this right the first time.", "Sorry if that is an obvious question.", "I have to explain it to somebody else afterwards.",
    "I was told different things by different people.", "An exact answer would help me a lot.",
)  # fmt: skip
GOING_ON = (
    "And {low}",
    "OK, and {low}",
    "{q}",
    "And then: {low}",
    "I see, and {low}",
)
THE_SAME = ("And what about {subject}?", "What about {subject}?", "And for {subject}?", "And how is it with {subject}?")
"""The question before, for something else."""
TERMS = (
    "Sorry, I didn't quite follow. What do you mean by \u201c{term}\u201d?", "What exactly is meant by \u201c{term}\u201d?", "I'm not sure I understand the part about \u201c{term}\u201d. Can you explain it?",
    "You said \u201c{term}\u201d. What does that mean?",
)  # fmt: skip
COMPARING = (
    "What is the difference between {a} and {b}?", "How does {a} compare with {b}?", "I have to decide between {a} and {b}. How do they differ?", "How do {a} and {b} differ?", "Is it the same for {a} and {b}, or is there a difference?",
)  # fmt: skip
COMPARING_ROWS = (
    "How do {a} and {b} differ in the {column}?", "What is the difference between {a} and {b} in the {column}?", "Do {a} and {b} have the same {column}?",
)  # fmt: skip
STEPS = (
    "What are the steps for {matter}?",
    "How do I go about {matter}?",
    "Can you take me through {matter} step by step?",
)
HOW_TO = (
    "What are the steps to {matter}?",
    "How do I {matter}?",
    "Can you tell me step by step how to {matter}?",
)
BOTH = (
    "{q} And {low2}",
    "Two things: {low} And {low2}",
    "{q} And at the same time: {low2}",
)
BOTH_TOPICS = (
    "On {topic}: {low} And on {topic2}: {low2}",
    "Two questions that belong together for me. About {topic}: {low} And about {topic2}: {low2}",
    "{q} That is about {topic}. And for {topic2}: {low2}",
)
ABOUT = ("What should I know about {subject}?", "Can you tell me more about {subject}?")
GOODBYES = (
    "Great, that's all I needed. Thank you!", "Thanks, I'll take care of it now.", "Perfect, thanks for your help.", "OK, that answers everything. Bye!", "Thank you, that was very helpful. I'll get started today.", "Alright, I know what to do now. Thanks!",
    "That's clear, thank you. Have a nice day.", "Good, then I have everything. Thanks a lot.", "Thanks, no more questions from me.",
)  # fmt: skip
SHORT_GOODBYES = ("Thanks, bye.", "OK, thanks.", "That's all, thanks.", "Got it, thank you.", "Thanks, all clear.")
FAREWELLS = (
    "You're welcome. All the best!", "Glad I could help. Have a good day!", "You're welcome, and good luck with it.", "Happy to help. Come back any time you have another question.", "My pleasure. Have a nice day!", "You're welcome. I hope everything goes smoothly.",
)  # fmt: skip

BOTH_LEADS = (
    "{a} {b}",
    "{a} As for the other question: {b}",
    "{a} And to your second question: {b}",
)
COMPARE_LEADS = (
    "{a} {b}",
    "{a} By comparison: {b}",
    "They differ as follows. {a} {b}",
)
STEP_LEADS = ("These are the steps:", "Here is what to do:", "It goes like this:", "Please proceed as follows:")
CLARIFIED = ("", "Gladly. ", "What is meant is this: ")
DEPENDS = (
    "That depends on which one you mean. ",
    "There is more than one. ",
    "It depends. ",
)
WHICH = (
    "Which of these do you mean?",
    "Tell me which one it is, and I can be more exact.",
    "Which of them is it for you?",
)
NOT_COVERED = (
    "I'm sorry, I have no information on that.", "I'm afraid that is not covered in what I have.", "I can't tell you that; nothing I have answers it.", "Unfortunately I have nothing on that.",
)  # fmt: skip
SEARCH_FAILED = (
    "I'm sorry, I could not look that up just now: the search did not work.", "The search is not working at the moment, so I can't tell you that yet.", "Unfortunately the search failed, so I could not find that out. Please ask again later.", "I tried to look that up, but the search could not be reached.",
)  # fmt: skip
NOT_COVERED_NAMED = (
    "I'm sorry, I have no information on \u201c{missing}\u201d.",
    "I'm afraid I have nothing about \u201c{missing}\u201d.",
    "Unfortunately, \u201c{missing}\u201d is not covered in what I have.",
)
NEAREST = ("What I can tell you: ", "What I do know: ")
NO_SUCH = (
    "I'm sorry, I have no information on {name}.",
    "I'm afraid I have nothing about {name}.",
    "Unfortunately I cannot find anything on {name}.",
)
OTHER_OPEN = (
    "On your {which} question I have found nothing.",
    "As for your {which} question, I have no information on it.",
    "I have no answer to your {which} question.",
)
OTHER_FAILED = (
    "Your {which} question I could not look up just now: the search did not work.",
    "As for your {which} question, the search failed, so I cannot answer it yet.",
)
PARTLY = (
    "I have nothing further on \u201c{missing}\u201d.",
    "On \u201c{missing}\u201d I have no information.",
    "What I do not have is anything on \u201c{missing}\u201d.",
)

QUESTION_FRAMES = (
    OPENINGS,
    GREETINGS,
    NEXT,
    ELSEWHERE,
    LONGER,
    GOING_ON,
    THE_SAME,
    TERMS,
    COMPARING,
    COMPARING_ROWS,
    STEPS,
    HOW_TO,
    BOTH,
    BOTH_TOPICS,
    ABOUT,
)
ANSWER_FRAMES = (
    BOTH_LEADS,
    COMPARE_LEADS,
    STEP_LEADS,
    CLARIFIED,
    DEPENDS,
    WHICH,
    NOT_COVERED,
    SEARCH_FAILED,
    NOT_COVERED_NAMED,
    NEAREST,
    NO_SUCH,
    OTHER_OPEN,
    OTHER_FAILED,
    PARTLY,
)
