"""What people ask for in the demo world: templates of voice-search queries and the names that fill them.

Texts are written as the normalizer leaves them. A production week may bring names of its own: pass other `entities`.
"""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

ENTITIES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "city": ("london", "boston", "austin", "paris", "berlin", "dublin", "madrid", "oslo", "chicago", "denver", "tokyo",
             "lisbon", "geneva", "vienna", "venice", "cairo", "sydney", "toronto", "new york", "san diego"),
    "place": ("the airport", "central station", "the town hall", "king street", "queen street", "the science museum",
              "the art gallery", "the public library", "green park", "the old bridge", "the football stadium",
              "the harbour", "the city hospital", "market square"),
    "shop": ("supermarket", "pharmacy", "bakery", "bank", "post office", "petrol station", "bookshop", "car wash",
             "cinema", "swimming pool", "hardware store", "coffee shop"),
    "food": ("pizza", "pasta", "sushi", "curry", "noodles", "pancakes", "tacos", "ramen", "lasagne", "fish and chips",
             "chicken soup", "apple pie", "banana bread", "fried rice", "tomato soup", "chocolate cake"),
    "artist": ("adele", "madonna", "prince", "queen", "oasis", "blur", "coldplay", "elton john", "johnny cash",
               "david bowie", "kate bush", "bob marley", "taylor swift", "stevie wonder", "amy winehouse",
               "the beatles"),
    "topic": ("football", "tennis", "cricket", "the election", "the weather", "electric cars", "space travel",
              "climate change", "house prices", "the stock market", "the train strike", "the world cup"),
    "thing": ("telephone", "bicycle", "camera", "piano", "microscope", "submarine", "zip", "printing press",
              "light bulb", "steam engine"),
    "time": ("five", "six", "seven", "half past eight", "nine fifteen", "nine fifty", "ten thirty", "ten thirteen",
             "noon", "midnight", "quarter to six", "quarter past seven"),
    "day": ("today", "tonight", "tomorrow", "on friday", "on sunday", "on monday", "this weekend", "next week"),
    "person": ("mum", "dad", "anna", "emma", "peter", "james", "sarah", "doctor brown", "doctor bowen"),
})
"""The names by type. Some sound alike on purpose (boston and austin, fifteen and fifty, brown and bowen)."""

NEW_ENTITIES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "artist": ("olivia rodrigo", "billie eilish", "dua lipa", "hozier", "lizzo"),
    "place": ("elmwood plaza", "trafalgar wharf", "hazelbrook mall"),
    "food": ("shakshuka", "bibimbap", "gnocchi", "tiramisu"),
})
"""The names of a later season: none of their words can be said before it comes."""

TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "navigate": ("directions to {place}", "how do i get to {place}", "how far is {place} from {place}"),
    "nearby": ("{shop} near me", "is there a {shop} open {day}", "best {food} in {city}"),
    "recipe": ("how to make {food}", "easy {food} recipe"),
    "music": ("play {artist}", "songs by {artist}", "{artist} tickets in {city}"),
    "weather": ("weather in {city} {day}", "will it rain in {city} {day}"),
    "travel": ("flights from {city} to {city}", "cheap hotels in {city}"),
    "news": ("latest news about {topic}",),
    "fact": ("who invented the {thing}", "what time is it in {city}"),
    "reminder": ("wake me up at {time} {day}", "remind me to call {person} at {time}"),
})
"""Twenty ways to ask, by intent. The first name in a query is its entity."""

SLOT = re.compile(r"\{(\w+)\}")


def queries(n: int, rng: np.random.Generator, entities: Mapping[str, Sequence[str]] = ENTITIES,
            about: Collection[str] = ()) -> pd.DataFrame:
    """Draw queries: every template is equally likely, and every name in it.

    `about` names types of entities: only what is asked about one of them is drawn.
    Returns: text, intent, entity, entity_type; one row a query.
    """
    forms = [(intent, form) for intent, group in TEMPLATES.items() for form in group
             if set(SLOT.findall(form)[:1]) & set(about or entities)]
    rows = [_fill(forms[i], rng, entities) for i in rng.integers(len(forms), size=n)]
    return pd.DataFrame(rows, columns=["text", "intent", "entity", "entity_type"])


def _fill(intent_form: tuple[str, str], rng: np.random.Generator,
          entities: Mapping[str, Sequence[str]]) -> tuple[str, str, str, str]:
    """Put names into a form; the same name does not come twice in one query."""
    intent, form = intent_form
    names: list[str] = []
    for slot in (kinds := SLOT.findall(form)):
        free = [name for name in entities[slot] if name not in names]
        names.append(free[rng.integers(len(free))])
    filled = iter(names)
    return SLOT.sub(lambda _: next(filled), form), intent, names[0], kinds[0]


def names() -> list[str]:
    """List all names of the catalogue as it is once the later season has come."""
    return sorted({name for group in (*ENTITIES.values(), *NEW_ENTITIES.values()) for name in group})


def every_query() -> list[str]:
    """List all that can be asked about the names of the catalogue as it is once the later season has come."""
    known = {kind: (*group, *NEW_ENTITIES.get(kind, ())) for kind, group in ENTITIES.items()}
    fillings = ((form, filling) for group in TEMPLATES.values() for form in group
                for filling in itertools.product(*(known[slot] for slot in SLOT.findall(form))))
    return [SLOT.sub("{}", form).format(*filling) for form, filling in fillings if len(set(filling)) == len(filling)]


def vocabulary(entities: Mapping[str, Sequence[str]] = ENTITIES) -> list[str]:
    """List every word that can be said, sorted."""
    forms = [SLOT.sub(" ", form) for group in TEMPLATES.values() for form in group]
    return sorted({word for text in (*forms, *(name for group in entities.values() for name in group))
                   for word in text.split()})
