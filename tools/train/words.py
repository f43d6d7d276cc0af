"""Word lists of the synthetic tasks (our own choice of plain English words)."""
_ = str.split

# things that can own a key; capitalised, used as proper names
NAMES = _("""Falcon Raven Otter Badger Heron Walrus Panther Jaguar Condor Lizard Beetle Spider Turtle Salmon Parrot Pigeon
Sparrow Magpie Rabbit Ferret Weasel Donkey Camel Zebra Giraffe Monkey Gorilla Tiger Lion Leopard Cheetah Wolf Fox Bear Bison
Moose Elk Deer Whale Dolphin Shark Squid Octopus Lobster Crab Oyster Mantis Hornet Cricket Moth Orion Vega Sirius Rigel Altair
Draco Lyra Cygnus Phoenix Pegasus Titan Europa Callisto Triton Ceres Pluto Saturn Jupiter Neptune Uranus Mercury Venus Mars Apollo
Hermes Athena Zeus Hera Atlas Janus Juno Thor Odin Loki Freya Amber Ruby Topaz Opal Jade Onyx Quartz Garnet Cobalt Nickel Copper
Silver Iron Zinc Helium Argon Neon Xenon Carbon Sulfur Alpha Beta Gamma Delta Omega Sigma Lambda Kappa Theta Zeta Everest Denali
Fuji Etna Vesuvius Olympus Andes Alps Nile Danube Rhine Volga Congo Amazon Ganges Thames Seine Tiber Boston Denver Dallas Austin
Houston Phoenixville Seattle Chicago Toronto Ottawa Lima Quito Bogota Havana Lisbon Madrid Vienna Prague Warsaw Athens Cairo Tunis
Nairobi Dakar Lagos Accra Delhi Mumbai Tokyo Kyoto Osaka Seoul Hanoi Manila Sydney Perth""")
NAMES = list(dict.fromkeys(n for n in NAMES if n != "Phoenixville"))

VALUES = _("""lantern anchor basket candle drum engine feather garden hammer island jacket kettle ladder marble needle orange pencil
quilt ribbon saddle table umbrella violin wagon yarn zipper apple banana cherry grape lemon melon peach pear plum berry carrot onion
pepper potato tomato cabbage garlic ginger honey butter cheese bread cookie sugar coffee tea milk water juice salt rice bean corn
wheat barley cotton silk wool linen leather velvet paper glass stone brick timber copper bronze golden crystal diamond pearl coral
shell pebble sand mud clay dust smoke cloud rain snow storm thunder breeze river lake ocean forest meadow desert valley mountain
canyon bridge tower castle temple palace market harbor station tunnel window door mirror carpet curtain pillow blanket bottle bucket
barrel hook rope chain wheel spring lever magnet battery circuit socket cable hinge screw nail chisel saw shovel rake broom brush
sponge towel soap comb ring crown sword shield arrow helmet boot glove scarf hat coat belt button pocket wallet ticket stamp letter
map compass clock bell whistle trumpet piano guitar flute harp""")
VALUES = list(dict.fromkeys(VALUES))

PEOPLE = _("""Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Maria Noah Olga Paul Quinn Rosa Sam Tina Victor Wendy Yara
Zoe Adam Bella Carlos Diana Eric Fiona""")
PLACES = _("""Paris London Berlin Rome Oslo Dublin Milan Geneva Zurich Munich Hamburg Lyon Porto Naples Turin Bern Helsinki Riga Sofia
Malta Miami Memphis Portland Salem Tampa Reno Omaha Tulsa Boise Fargo""")
ADJ = _("""small old quiet bright green tall gentle slow heavy narrow warm cold clean empty soft wide dark plain sharp round young brave
kind happy tired clever busy calm lazy proud""")
THING = _("""road house farm shop boat train school library kitchen office village city field hill path wall roof room corner street
bench fence barn mill well yard square church museum factory""")
PERSON = _("""baker farmer teacher sailor doctor painter driver miller singer tailor gardener writer nurse guard pilot judge cook
hunter miner weaver""")
VERB = _("""opened closed cleaned painted visited watched repaired crossed left found built measured sold bought described passed
counted checked reached admired""")
TIME = ["in the morning", "at noon", "in the evening", "at night", "on Monday", "on Tuesday", "on Friday", "on Sunday", "last week",
        "last year", "every day", "after lunch", "before dawn", "in winter", "in summer", "in spring", "in autumn", "two days later"]
COLORS = _("red blue green yellow white black purple brown pink gray")
ANIMALS = _("cat dog mouse bird frog duck hen horse goat sheep pig cow owl snail bee ant squirrel hedgehog fish pony")
FOODS = _("soup cake pie bread cheese apples nuts berries honey rice noodles salad")
WEATHER = _("sunny cloudy rainy windy snowy foggy stormy clear")
MOODS = _("happy sad tired hungry curious afraid proud lonely excited calm")
