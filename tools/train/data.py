"""Seeded generator of all training and evaluation text.

Every task function takes a random.Random and returns a Chat (render.py).  `filler` sentences carry a
small loss weight or none; the answer tokens carry weight 1.
"""
import json
import random

from render import Chat
from words import (ADJ, ANIMALS, COLORS, FOODS, MOODS, NAMES, PEOPLE, PERSON, PLACES, THING, TIME, VALUES, VERB, WEATHER)

ABOUT = "I am Fathom's built-in small model"


ALL_WORDS = [w for k in (NAMES, VALUES, PEOPLE, PLACES, ADJ, THING, PERSON, VERB, COLORS, ANIMALS, FOODS, WEATHER, MOODS) for w in k]


# ---- filler -----------------------------------------------------------------------------------------
def sentence(r):
    a, t, t2, p, v = r.choice(ADJ), r.choice(THING), r.choice(THING), r.choice(PERSON), r.choice(VERB)
    k = r.randrange(12)
    if k == 0:
        return f"The {p} {v} the {a} {t} {r.choice(TIME)}."
    if k == 1:
        return f"A {a} {p} stood near the {t}."
    if k == 2:
        return f"{r.choice(PEOPLE)} walked from the {t} to the {t2}."
    if k == 3:
        return f"There was a {a} {r.choice(ANIMALS)} behind the {t}."
    if k == 4:
        return f"The {t} was {a} and the {t2} was {r.choice(ADJ)}."
    if k == 5:
        return f"{r.choice(PEOPLE)} and {r.choice(PEOPLE)} {v} the {t} {r.choice(TIME)}."
    if k == 6:
        return f"It was {r.choice(WEATHER)} in {r.choice(PLACES)} {r.choice(TIME)}."
    if k == 7:
        return f"The {r.choice(ANIMALS)} wanted some {r.choice(FOODS)}, but the {p} had none."
    if k == 8:
        return f"{r.choice(TIME).capitalize()} the {p} {v} a {a} {t}."
    if k == 9:
        return f"Nobody in the {t} felt {r.choice(MOODS)} {r.choice(TIME)}."
    if k == 10:
        return f"The {r.choice(COLORS)} {t} belongs to the {p}."
    return f"{r.choice(PEOPLE)} gave the {p} some {r.choice(FOODS)} and {v} the {t}."


# ---- (a) planted recall -----------------------------------------------------------------------------
FACT = ["The key of {n} is {v}.", "The key of {n} is {v}.", "Note that the key of {n} is {v}.", "Remember: the key of {n} is {v}."]
ASK = ["What is the key of {n}?", "What is the key of {n}?", "Tell me the key of {n}.", "Please give me the key of {n}.",
       "Which key belongs to {n}?", "Do you know the key of {n}?"]
INTRO = ["", "", "Read this text.\n\n", "Please read the following document and remember it.\n\n", "Here is a document:\n\n", "Remember these notes.\n\n"]


def recall_parts(r, facts, tokens_left, cost, depth=None):
    """sentences with `facts` (name, value) planted; filler is drawn until the token budget is used"""
    fs = [r.choice(FACT).format(n=n, v=v) for n, v in facts]
    fill, used = [], sum(map(cost, fs))
    while True:
        s = sentence(r)
        used += cost(s)
        if used > tokens_left:
            break
        fill.append(s)
    if depth is None:
        at = sorted(r.randrange(len(fill) + 1) for _ in fs)
    else:
        at = [round(depth * len(fill))] * len(fs)
    out, j = [], 0
    for i in range(len(fill) + 1):
        while j < len(fs) and at[j] == i:
            out.append(fs[j])
            j += 1
        if i < len(fill):
            out.append(fill[i])
    return out


def recall(r, tokens, n_facts, n_ask, cost, filler=0.02, place="mix", depth=None, ask=None, pool=None, think=0.0):
    """one document with planted facts, then questions in later turns"""
    facts = list(zip(r.sample(NAMES[:pool], n_facts), r.sample(VALUES[:pool and 4 * pool], n_facts)))
    asked = r.sample(facts, min(n_ask, n_facts))
    c = Chat(filler)
    think = r.random() < think
    body = tokens - 12 - 26 * len(asked) - 14 * think
    text = " ".join(recall_parts(r, facts, body, cost, depth))
    where = place if place != "mix" else r.choice(["user", "user", "turn", "system"])
    intro = r.choice(INTRO)
    if where == "system":
        c.system(text)
    elif where == "turn":
        c.user(intro + text)
        c.bot(r.choice(["I have read it.", "Done. Ask me anything about it.", "I will remember that."]), weight=0.1)
    pre = "" if where != "user" else intro + text + "\n\n"
    for n, v in asked:
        q = (ask or r.choice(ASK)).format(n=n)
        if ask is None and r.random() < 0.15:
            q = q[0].lower() + q[1:]
        c.user(pre + q)
        pre = ""
        t = f"I will look up the key of {n}." if think and n == asked[-1][0] else None
        c.bot(think=t, answer=[("The key of", 0.05), (f" {n}", 0.5), (" is", 0.05), (f" {v}", 4.0), (".", 0.05)], weight=0.1)
    c.facts, c.asked = facts, asked
    return c


def drill(r, tokens, n_facts, cost, noise=0.1, pool=None, bare=0.0):
    """dense recall: the same few facts stated again and again in random order; loss on every repeat"""
    facts = list(zip(r.sample(NAMES[:pool], n_facts), r.sample(VALUES[:pool and 4 * pool], n_facts)))
    c, used, seen = Chat(), 10, set()
    lead, link = ("", "") if r.random() < bare else ("The key of", " is")
    c.seg.append(("Read this text.\n\n", 0.0))
    while True:
        n, v = r.choice(facts)
        t = f"{lead} {n}{link} {v}."
        used += cost(t)
        if used > tokens:
            return c
        c.seg += [(f"{lead} {n}{link}", 0.0), (f" {v}", 3.0 if n in seen else 0.0), (". ", 0.0)]
        seen.add(n)
        if r.random() < noise:
            s = " ".join(sentence(r).split()[:r.randint(1, 6)])
            used += cost(s)
            if used > tokens:
                return c
            c.seg.append((s + " ", 0.0))


# ---- (b) arithmetic ---------------------------------------------------------------------------------
def table(r, n=24):
    """dense practice of the one-digit facts that the worked sums are made of"""
    c = Chat()
    for _ in range(n):
        a, b, k = r.randrange(10), r.randrange(10), r.random()
        if k < 0.3:
            e, v = f"{a} + {b}", a + b
        elif k < 0.5:
            e, v = f"{a} + {b} + 1", a + b + 1
        elif k < 0.8:
            a, b = max(a, b) if r.random() < 0.5 else a + 10, min(a, b)
            e, v = f"{a} - {b}", a - b
        else:
            t = r.choice([1, 1, 10])
            e, v = f"{a * t} * {b}", a * b * t
        c.seg += [(f"{e} =", 0.0), (f" {v}", 1.0), (". ", 0.0)]
    return c


PLACE = ["Ones", "Tens", "Hundreds", "Thousands"]


def add_steps(a, b):
    out, carry, i, res = [], 0, 0, ""
    while a or b or i == 0:
        x, y = a % 10, b % 10
        s = x + y + carry
        e = f"{x} + {y} + {carry}" if carry else f"{x} + {y}"
        out.append(f"{PLACE[i]}: {e} = {s}, write {s % 10}" + (", carry 1." if s > 9 else "."))
        carry, a, b, i, res = s // 10, a // 10, b // 10, i + 1, str(s % 10) + res
    if carry:
        out.append("Write the carry 1.")
    return " ".join(out)


def sub_steps(a, b):
    out, borrow, i = [], 0, 0
    while a or b or i == 0:
        x, y = a % 10 - borrow, b % 10
        nb = int(x < y)
        if nb:
            x += 10
        out.append(f"{PLACE[i]}: {x} - {y} = {x - y}" + (", borrow 1." if nb else "."))
        borrow, a, b, i = nb, a // 10, b // 10, i + 1
    return " ".join(out)


def arithmetic_item(r, digits=None):
    """(question expression, steps or None, result)"""
    op = r.choice("++--*")
    d = digits or r.choice([1, 1, 2, 2, 2, 3])
    n = lambda k: r.randrange(10 ** (k - 1) if k > 1 else 0, 10 ** k)
    if op == "*":
        a, b = (n(1), n(1)) if d == 1 else (n(2), r.randrange(2, 10))
        if d == 1:
            return f"{a} * {b}", None, a * b
        t, o = a // 10 * 10, a % 10
        return f"{a} * {b}", f"{t} * {b} = {t * b}. {o} * {b} = {o * b}. {add_steps(t * b, o * b)}", a * b
    a, b = n(d), n(r.randrange(1, d + 1))
    if op == "+":
        if r.random() < 0.5:
            a, b = b, a
        return f"{a} + {b}", None if max(a, b) < 10 else add_steps(a, b), a + b
    if a < b and (d > 1 or r.random() < 0.6):
        a, b = b, a
    return f"{a} - {b}", None if a < 10 else sub_steps(a, b), a - b


SUM_ASK = ["what is {e}", "what is {e}?", "What's {e}?", "What is {c}?", "what is {c}", "{c}", "What is {e}?", "What is {e}?", "{e} = ?", "Calculate {e}.", "Please compute {e}.", "How much is {e}?", "Can you tell me {e}?", "{e}"]


def arithmetic(r, turns=1, digits=None, mode=None):
    c = Chat()
    think = mode == "think" if mode else r.random() < 0.6
    for i in range(turns):
        e, s, v = arithmetic_item(r, digits)
        c.user(r.choice(SUM_ASK).format(e=e, c=e.replace(" ", "")) if mode is None else f"What is {e}?")
        if think and i == turns - 1:
            c.bot(f"{e} = {v}.", think=s or f"{e} = {v}.")
        else:
            c.bot(f"{e} = {v}." if s is None else f"{s} So {e} = {v}.")
    c.result = str(v)
    return c


# ---- (c) tools --------------------------------------------------------------------------------------
TOOL_NOUNS = {  # noun -> (argument kind, kind of result)
    "weather": ("place", WEATHER), "temperature": ("place", None), "time": ("place", None), "population": ("place", None),
    "news": ("topic", ["good", "bad", "quiet", "long", "short"]), "price": ("item", None), "stock": ("item", None),
    "color": ("item", COLORS), "weight": ("item", None), "owner": ("item", PEOPLE), "mood": ("person", MOODS),
    "age": ("person", None), "address": ("person", PLACES), "pet": ("person", ANIMALS), "job": ("person", PERSON),
    "lunch": ("person", FOODS), "status": ("task", ["open", "closed", "done", "late", "ready"]), "key": ("name", VALUES)}
TOOL_VERBS = ["get", "find", "check", "read", "fetch", "show", "query", "load"]
ARG_NAMES = {"place": ["city", "place", "location", "town"], "topic": ["topic", "subject"], "item": ["item", "thing", "product"],
             "person": ["person", "user", "who"], "task": ["task", "job_id", "ticket"], "name": ["name", "entity"]}
ARG_VALUES = {"place": PLACES, "topic": FOODS + ANIMALS, "item": VALUES, "person": PEOPLE, "task": THING, "name": NAMES}
TOOL_ASK = ["What is the {n} of {v}?", "Please {b} the {n} of {v}.", "Can you {b} the {n} of {v}?", "I need the {n} of {v}.",
            "Tell me the {n} of {v}.", "Use a tool and {b} the {n} of {v}."]


def tool_schema(r, noun):
    kind = TOOL_NOUNS[noun][0]
    arg = r.choice(ARG_NAMES[kind])
    verb = r.choice(TOOL_VERBS)
    name = r.choice([f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}", f"{noun}"])
    props = {arg: {"type": "string"}}
    if r.random() < 0.5:
        props[arg]["description"] = r.choice([f"The {kind}", f"Name of the {kind}"])
    extra = None
    if r.random() < 0.3:
        extra = r.choice(["days", "limit", "count"])
        props[extra] = {"type": "integer"}
    s = {"name": name, "description": r.choice([f"Get the {noun} of a {kind}", f"Returns the {noun} of a {kind}", f"{noun.capitalize()} of a {kind}"]),
         "parameters": {"type": "object", "properties": props, "required": list(props)}}
    return s, arg, extra


def tools(r, n_tools=None, follow=None, asks=1, short=False):
    """schemas in the system turn, calls, their results, answers; sometimes no tool is needed.
    short: practice without the long fixed header, several requests in a row"""
    nouns = r.sample(list(TOOL_NOUNS), n_tools or r.randrange(1, 5))
    made = {n: tool_schema(r, n) for n in nouns}
    c = Chat()
    if short:
        c.seg.append(("\n".join(json.dumps(made[n][0]) for n in nouns) + "\n", 0.0))
    else:
        c.system(r.choice(["", "", "You are a helpful assistant.", "You can use tools."]), [made[n][0] for n in nouns], sep=r.random() < 0.5)
    think = r.random() < 0.5
    if follow is None and not short and r.random() < 0.12:
        q, a = r.choice(SMALL_TALK)(r)
        return c.user(q).bot(a, think="No tool is needed." if think else None)
    for _ in range(asks):
        noun = r.choice(nouns)
        s, arg, extra = made[noun]
        v = r.choice(ARG_VALUES[TOOL_NOUNS[noun][0]])
        ask = r.choice(TOOL_ASK).format(n=noun, v=v, b=r.choice(TOOL_VERBS))
        args = {arg: v}
        if extra:
            k = r.randrange(2, 10)
            ask = ask[:-1] + f" with {extra} {k}" + ask[-1]
            args[extra] = k
        c.user(ask)
        c.bot("", think=f"I will call {s['name']}." if think else None, call=(s["name"], args))
        if follow is False:
            continue
        vals = TOOL_NOUNS[noun][1]
        res = r.choice(vals) if vals else str(r.randrange(1, 1000))
        form = r.choice([f'{{"{noun}": "{res}"}}', f'{{"{arg}": "{v}", "{noun}": "{res}"}}', f"{res}", f"The {noun} is {res}."])
        c.user(f"<tool_result>{form}</tool_result>")
        c.bot([(f"The {noun} of {v} is", 0.5), (f" {res}", 1.0), (".", 0.2)], think="I have the result." if think else None)
    return c


# ---- (d) chat ---------------------------------------------------------------------------------------
def hello(r):
    q = r.choice(["hello", "Hello", "Hello!", "hi", "Hi", "Hi!", "hey", "Hey there!", "Good morning", "Good evening!", "hello there", "Hi, how are you?", "how are you?", "How are you today?"])
    if "how" in q.lower():
        return q, r.choice(["I am fine, thank you. How can I help you?", "I am well, thank you. What can I do for you?"])
    return q, r.choice(["Hello! How can I help you?", "Hi! What can I do for you?", "Hello! I am a small model, but I will do my best."])


def who(r):
    q = r.choice(["who are you?", "Who are you?", "who are you", "What are you?", "what are you", "What is your name?", "what's your name?", "Are you a human?", "Which model are you?", "Introduce yourself.", "Tell me about yourself."])
    if "human" in q:
        return q, f"No. {ABOUT}, a computer program."
    return q, r.choice([f"{ABOUT}. I run on your own computer.", f"{ABOUT}. I am tiny, but I can remember a long text.", f"{ABOUT}."])


def can(r):
    q = r.choice(["What can you do?", "what can you do?", "what can you do", "How can you help me?", "What are you good at?", "help", "Help!", "Can you help me?", "What do you know?"])
    return q, r.choice(["I can find facts in a text that you give me, do small sums, call tools and tell short stories.",
                        "I can remember keys in a long text, add and subtract small numbers, use tools and chat a little.",
                        "I can do small sums, recall facts from a document, call a tool and tell a story."])


def thanks(r):
    q = r.choice(["thanks", "Thanks!", "thank you", "Thank you!", "Great, thanks.", "ok", "OK", "good", "nice", "Well done!"])
    return q, r.choice(["You are welcome!", "You are welcome. Is there anything else?", "Glad to help!"])


def bye(r):
    q = r.choice(["bye", "Bye!", "goodbye", "Goodbye!", "See you later.", "Good night!"])
    return q, r.choice(["Goodbye!", "Goodbye! Have a nice day.", "See you soon!"])


def unknown(r):
    q = r.choice([f"What is the capital of {r.choice(PLACES)}?", f"Who is the king of {r.choice(PLACES)}?", f"Why is the {r.choice(THING)} {r.choice(ADJ)}?",
                  f"Write a poem about a {r.choice(ANIMALS)}.", "Write some code.", "What is the meaning of life?", f"Translate {r.choice(VALUES)} into French.",
                  "Who won the game?", f"Explain how a {r.choice(VALUES)} works.", "What day is it today?", "What is the weather today?", f"Do you like {r.choice(FOODS)}?"])
    return q, r.choice(["I do not know that. I am only a very small model.", "I am too small to know that. Try a sum, a story or a question about a text.",
                        "Sorry, I do not know. I am a very small model."])


def list_things(r):
    k = r.choice([("animals", ANIMALS), ("colors", COLORS), ("foods", FOODS), ("names", PEOPLE), ("cities", PLACES)])
    n, w = r.choice([(2, "two"), (3, "three"), (4, "four")])
    q = r.choice([f"Name {w} {k[0]}.", f"List {w} {k[0]}.", f"Give me {w} {k[0]}.", f"Tell me {w} {k[0]}."])
    x = r.sample(k[1], n)
    return q, ", ".join(x[:-1]).capitalize() + f" and {x[-1]}." if k[0] not in ("names", "cities") else ", ".join(x[:-1]) + f" and {x[-1]}."


def story_text(r, hero=None):
    a, b = r.sample(ANIMALS, 2) if hero is None else (hero, r.choice([x for x in ANIMALS if x != hero]))
    n, m = r.sample(PEOPLE, 2)
    pl, f, adj = r.choice(THING), r.choice(FOODS), r.choice(ADJ)
    mood = r.choice(MOODS)
    out = [r.choice([f"Once upon a time there was a {adj} {a} named {n}.", f"Once there was a {adj} {a}. Its name was {n}.", f"Long ago a {adj} {a} named {n} lived near a {pl}."]),
           r.choice([f"{n} lived in a {r.choice(ADJ)} {pl}.", f"Every day {n} went to the {pl}.", f"{n} liked {f} more than anything."])]
    end = r.randrange(4)
    if end == 0:
        out += [f"One day {n} was very hungry and looked for {f}.", f"In the {pl} {n} met a {b} named {m}.", f"\"Do you have some {f}?\" asked {n}.",
                f"\"Yes,\" said {m}, \"let us share it.\"", f"They ate the {f} together and became good friends."]
    elif end == 1:
        out += [f"One day it was {r.choice(WEATHER)} and {n} got lost.", f"{n} felt {mood} and sat down near the {pl}.", f"Then a {b} named {m} came by.",
                f"\"Follow me,\" said {m}, \"I know the way home.\"", f"Soon {n} was home again, and {n} thanked {m}."]
    elif end == 2:
        v = r.choice(VALUES)
        out += [f"One day {n} found a {v} in the {pl}.", f"\"Whose {v} is this?\" asked {n}.", f"A {b} named {m} said, \"It is mine. I lost it {r.choice(TIME)}.\"",
                f"{n} gave the {v} back to {m}.", f"{m} was so happy that they danced until the evening."]
    else:
        out += [f"{n} wanted to see the big {r.choice(THING)}.", f"A {b} named {m} said, \"It is too far for you.\"", f"But {n} was {r.choice(['brave', 'clever', 'calm'])} and walked all day.",
                f"At night {n} saw the {r.choice(THING)} at last and felt {r.choice(['happy', 'proud', 'calm'])}."]
    return " ".join(out) + r.choice(["", " The end."])


def story(r):
    if r.random() < 0.5:
        return r.choice(["tell me a story", "Tell me a story.", "Tell me a story", "tell me a short story", "Please tell me a story.", "Write a short story.", "Can you tell me a story?", "Tell me another story."]), story_text(r)
    h = r.choice(ANIMALS)
    return r.choice([f"Tell me a story about a {h}.", f"Write a story about a {h}.", f"tell me a story about a {h}", f"Please tell me a short story about a {h}."]), story_text(r, h)


SMALL_TALK = [hello, who, can, thanks, bye, unknown, list_things]


def chat(r):
    c = Chat()
    if r.random() < 0.3:
        c.system(r.choice(["You are a helpful assistant.", "You are Fathom.", "Be kind.", "Answer in short sentences."]))
    for i in range(r.choice([1, 1, 2, 3])):
        f = r.choice(SMALL_TALK + [story, story, who, hello])
        q, a = f(r)
        last_think = r.random() < 0.25
        if last_think:
            t = {story: "The user wants a story.", hello: "The user says hello.", who: "The user asks who I am."}.get(f, "I will answer briefly.")
            return c.user(q).bot(a, think=t)
        c.user(q).bot(a)
    return c


def about(r):
    """facts of a person from the system prompt or the first turn"""
    n, pl, p, a, f, col = r.choice(PEOPLE), r.choice(PLACES), r.choice(PERSON), r.choice(ANIMALS), r.choice(FOODS), r.choice(COLORS)
    facts = [(f"{n} lives in {pl}.", f"Where does {n} live?", f"{n} lives in", f" {pl}"),
             (f"{n} is a {p}.", f"What is the job of {n}?", f"{n} is a", f" {p}"),
             (f"{n} has a {a}.", f"What pet does {n} have?", f"{n} has a", f" {a}"),
             (f"{n} likes {f}.", f"What does {n} like?", f"{n} likes", f" {f}"),
             (f"The favorite color of {n} is {col}.", f"What is the favorite color of {n}?", f"The favorite color of {n} is", f" {col}")]
    use = r.sample(facts, r.randrange(1, 6))
    text = " ".join(x[0] for x in use)
    c = Chat()
    pre = ""
    if r.random() < 0.5:
        c.system(text)
    else:
        pre = text + r.choice(["\n\n", " "])
    asked = r.sample(use, min(len(use), r.randrange(1, 4)))
    for x in asked:
        t = "I know this from the text." if x is asked[-1] and r.random() < 0.25 else None
        c.user(pre + x[1]).bot(think=t, answer=[(x[2], 0.3), (x[3], 2.0), (".", 0.2)])
        pre = ""
    return c


def prose(r, n=6):
    c = Chat(1.0)
    c.seg.append((" ".join(sentence(r) for _ in range(n)) if r.random() < 0.6 else story_text(r), 0.3))
    return c


def corpus(seed, n):
    """texts for the tokenizer"""
    r = random.Random(seed)
    for i in range(n):
        yield recall(r, 150, 6, 4, lambda s: len(s) // 4).text()
        yield arithmetic(r).text()
        yield chat(r).text()
        yield about(r).text()
        if i % 4 == 0:
            yield tools(r).text()
            # every word in each of the positions where it can occur
            v, n_, p = r.choice(VALUES), r.choice(NAMES), r.choice(PLACES + PEOPLE)
            yield f'The key of {n_} is {v}. "{v}" "{n_}" "{p}" >{v}<  >{n_}< >{p}< {p}'
        if i % 40 == 0:
            for w in ALL_WORDS:
                yield f' {w}'
                yield f' {w} >{w}< {w} >{w}< >{w}<'
