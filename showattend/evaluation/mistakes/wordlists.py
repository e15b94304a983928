"""The tables of the lexicon: the words that name each object, count, colour and activity.

They were built from the most frequent words of the Flickr8k training captions and from COCO's
categories. ``lexicon.py`` uses them.
"""

from __future__ import annotations

# Objects. Nouns are separated by commas and may contain spaces; the concept's own name is implied.
OBJECTS = {
    "person": "someone, human, individual, figure, adult, male, female, player, teammate, rider,"
    "biker, bicyclist, cyclist, motorcyclist, skateboarder, skate boarder, snowboarder, surfer,"
    "skier, skater, rollerblader, boarder, swimmer, diver, climber, rock climber, hiker, runner,"
    "jogger, racer, dancer, singer, musician, guitarist, drummer, performer, artist, clown,"
    "wrestler, boxer, fighter, athlete, goalie, goalkeeper, catcher, batter, pitcher, referee,"
    "umpire, coach, jockey, cheerleader, spectator, onlooker, audience, crowd, fan, team, family,"
    "friend, owner, worker, officer, policeman, police officer, fireman, firefighter, soldier,"
    "driver, passenger, pedestrian, tourist, photographer, teenager, teen, youth, youngster,"
    "student, parent, vendor, customer, shopper, bystander, band, golfer,"
    "kayaker, acrobat, gymnast, opponent, competitor, participant, member",
    "man": "guy, gentleman, father, dad, husband, groom, cowboy, fisherman, businessman, grandpa,"
    "grandfather, fellow, santa, monk",
    "woman": "lady, mother, mom, wife, bride, bridesmaid, businesswoman, grandmother",
    "child": "kid, schoolchild, schoolchildren, tot",
    "boy": "son, schoolboy, brother",
    "girl": "daughter, schoolgirl, sister",
    "baby": "toddler, infant",
    "animal": "creature, pet",
    "dog": "puppy, pup, hound, greyhound, poodle, terrier, retriever, golden retriever, labrador,"
    "lab, collie, dalmatian, doberman, pitbull, pit bull, bulldog, dachshund, chihuahua, pug,"
    "husky, beagle, rottweiler, german shepherd, shepherd, spaniel, doggy, corgi",
    "cat": "kitten",
    "horse": "pony, horseback, bronco",
    "cow": "bull, cattle, calf, ox, steer",
    "sheep": "lamb, ram",
    "goat": "",
    "bird": "duck, goose, swan, pigeon, seagull, gull, parrot, chicken, eagle, pelican, flamingo,"
    "owl, hawk, turkey, heron, rooster",
    "monkey": "",
    "camel": "",
    "deer": "antelope, reindeer",
    "elephant": "",
    "tiger": "lion, leopard",
    "bear": "polar bear",
    "zebra": "",
    "giraffe": "",
    "rabbit": "bunny",
    "squirrel": "",
    "fish": "shark, dolphin, whale",
    "turtle": "tortoise",
    "bike": "biker",
    "bicycle": "bicyclist, cyclist, mountain bike, mountain biker, bmx, bmx bike, unicycle,"
    "tricycle, bmx rider",
    "motorcycle": "motorbike, motorcyclist, dirt bike, dirtbike, motocross, moped, dirt biker,"
    "motorcycle rider, motor bike",
    "vehicle": "atv, quad",
    "car": "automobile, race car, jeep, suv, taxi, cab, sedan, racecar",
    "truck": "pickup, van, pickup truck, monster truck",
    "bus": "school bus",
    "train": "subway train, tram, trolley, locomotive",
    "boat": "canoe, kayak, raft, sailboat, ship, motorboat, rowboat, speedboat, kayaker, yacht",
    "airplane": "plane, jet, aircraft, helicopter",
    "scooter": "",
    "cart": "wagon, carriage, buggy, stroller, wheelchair",
    "board": "",
    "skateboard": "skateboarder, skateboarding",
    "snowboard": "snowboarder, snowboarding",
    "surfboard": "boogie board, surf board, bodyboard, wakeboard",
    "skis": "ski, skier, skiing, skiis",
    "sled": "toboggan, sledding, sledge, snow tube",
    "skates": "ice skate, rollerblade, roller skate, roller blade, rollerskate",
    "sport": "game, match",
    "soccer": "",
    "football": "american football",
    "basketball": "",
    "tennis": "",
    "baseball": "softball",
    "hockey": "ice hockey",
    "volleyball": "",
    "rugby": "",
    "golf": "",
    "cricket": "",
    "lacrosse": "",
    "polo": "",
    "toy": "doll, stuffed animal, stuffed toy, teddy bear, squeaky toy",
    "ball": "tennis ball, soccer ball, basket ball, beach ball, rugby ball, snowball, golf ball",
    "frisbee": "disc, disk, frizbee",
    "stick": "branch, log, twig, hockey stick, stump",
    "balloon": "",
    "bubble": "",
    "hoop": "hula hoop, hoola hoop",
    "kite": "parachute, parasail, paraglider",
    "racket": "racquet, tennis racket, tennis racquet",
    "bat": "baseball bat",
    "net": "",
    "goal": "goal post",
    "shirt": "t-shirt, tshirt, tee shirt, jersey, sweater, sweatshirt, hoodie,"
    "tank top, blouse, vest, tee",
    "jacket": "coat, parka",
    "pants": "jean, jeans, trousers, shorts, overalls, slacks, khakis",
    "dress": "skirt, gown, robe, tutu, kimono",
    "swimsuit": "bikini, bathing suit, swim suit, wetsuit, swim trunks, speedo, trunks",
    "uniform": "",
    "suit": "tuxedo, snowsuit, business suit",
    "costume": "outfit",
    "clothes": "clothing, attire, gear",
    "hat": "cap, beanie, hood, baseball cap, cowboy hat, bonnet, visor, turban",
    "helmet": "",
    "glasses": "sunglasses, goggles, sunglass, eyeglasses",
    "headscarf": "bandanna, bandana, headband, scarf, scarves",
    "mask": "makeup, face paint",
    "shoe": "boot, sandal, sneaker, flip flop, flop, high heel",
    "glove": "mitten, mitt",
    "tie": "necktie, bow tie",
    "necklace": "bead, jewelry, earring, bracelet",
    "bag": "backpack, purse, handbag, back pack, luggage, suitcase, briefcase, sack",
    "umbrella": "parasol",
    "leash": "collar",
    "rope": "cable, cord, string, chain, climbing rope, tightrope",
    "flag": "banner",
    "sign": "billboard, poster",
    "mouth": "tongue, tooth, teeth, lip",
    "face": "nose, eye, ear, cheek, beard, mustache",
    "head": "",
    "hair": "mohawk, ponytail, pigtail, braid",
    "arm": "hand, finger, thumb, shoulder, elbow, wrist, fist",
    "leg": "foot, feet, knee, paw, lap",
    "camera": "video camera, camcorder",
    "phone": "cellphone, cell phone, telephone, mobile phone",
    "computer": "laptop",
    "television": "tv, screen, monitor",
    "book": "newspaper, magazine, paper",
    "guitar": "",
    "instrument": "violin, drum, trumpet, accordion, piano, saxophone, flute, cello, harmonica,"
    "musical instrument",
    "microphone": "",
    "food": "cake, pizza, sandwich, ice cream, fruit, vegetable, banana, apple, candy, snack,"
    "meal, lunch, dinner, hot dog, corn, bread, popcorn, lollipop, donut, broccoli, carrot",
    "bottle": "",
    "cup": "mug, glass of, coffee, beer, soda, wine, beverage, can of",
    "plate": "bowl, dish, tray",
    "knife": "fork, spoon",
    "cigarette": "cigar, pipe smoke",
    "gun": "rifle, sword, weapon, pistol",
    "table": "desk, counter, picnic table",
    "chair": "seat, stool, lawn chair, armchair",
    "couch": "sofa",
    "bench": "park bench",
    "bed": "blanket, pillow, mattress, crib",
    "box": "cardboard box, crate, bin, basket, bucket, barrel, tub, container",
    "toilet": "sink, bathtub, bathroom, shower",
    "refrigerator": "fridge, oven, stove, microwave",
    "clock": "",
    "vase": "potted plant, flower pot",
    "hydrant": "fire hydrant",
    "traffic light": "stoplight, street light, traffic signal, stop light",
    "swing": "swing set, swingset, tire swing, the swings, on swings",
    "slide": "water slide, waterslide",
    "trampoline": "",
    "playground": "jungle gym, monkey bar, sandbox",
    "carnival ride": "amusement ride, roller coaster, rollercoaster, carousel,"
    "amusement park ride, ferris wheel",
    "ramp": "half pipe, halfpipe, skate ramp, half-pipe",
    "obstacle": "hurdle, obstacle course, agility course",
    "rail": "railing, handrail, hand rail, guardrail",
    "pole": "post, lamppost, beam, pipe, ski pole",
    "fence": "gate, barrier",
    "wall": "graffiti, climbing wall, rock wall, brick wall",
    "door": "doorway, entrance",
    "window": "",
    "stairs": "steps, stair, staircase, stairway, step, escalator",
    "bridge": "",
    "tunnel": "",
    "tent": "canopy",
    "fountain": "",
    "sprinkler": "hose, water hose, water gun",
    "statue": "sculpture, monument",
    "building": "house, church, skyscraper, barn, tower, structure, castle, apartment, temple,"
    "stadium, garage",
    "shop": "store, market, supermarket, mall, storefront, grocery store",
    "restaurant": "cafe, diner",
    "room": "kitchen, bedroom, living room, hallway, office, classroom, gym, living-room",
    "floor": "carpet, rug, mat, hardwood floor",
    "stage": "concert",
    "station": "train station, subway, subway station, bus stop, airport",
    "city": "town, downtown, village",
    "street": "road, crosswalk, roadway, highway, intersection, alley, pavement, driveway, curb",
    "sidewalk": "walkway",
    "path": "trail, dirt road, boardwalk, dirt path",
    "track": "racetrack, race track, racecourse, raceway, railroad track",
    "court": "tennis court, basketball court",
    "park": "skate park, skatepark, garden, amusement park, water park, theme park",
    "yard": "lawn, backyard",
    "parking lot": "lot",
    "field": "meadow, pasture, baseball field, soccer field, football field",
    "grass": "grassy area, grassy field, grassy hill, grassy, turf, hay",
    "forest": "woods, wooded, jungle, woodland, wooded area",
    "tree": "bush, shrub, palm tree, christmas tree",
    "plant": "leaf, leaves, weed, crop, foliage",
    "flower": "tulip, rose, daisy",
    "rock": "stone, boulder, rocky, pebble, rock face, rock wall",
    "cliff": "cliffside, ledge",
    "mountain": "mountainside, mountaintop, peak, canyon, mountain range",
    "hill": "hillside, slope, dune, sand dune, mound, hilltop",
    "snow": "ice, snowy, snow-covered, snowbank",
    "sand": "sandy",
    "dirt": "mud, muddy, gravel, dust, soil, dirt track, dirt path, dirt road",
    "ground": "",
    "desert": "",
    "beach": "shore, shoreline, coast, seashore, seaside",
    "water": "waters, puddle, splash",
    "ocean": "sea, wave, the surf",
    "lake": "pond",
    "river": "stream, creek, waterfall, rapids, whitewater",
    "pool": "swimming pool, wading pool, kiddie pool",
    "dock": "pier, boat dock",
    "sky": "cloud",
    "sun": "sunset, sunrise, sunlight",
    "fire": "campfire, flame, firework",
    "wheel": "tire, tyre",
    "picture": "photo, photograph, painting, drawing",
    "party": "wedding, parade, celebration, event, carnival, festival, birthday party",
}

NOT_OBJECTS = (
    "swings, slides, hot tub, water bottle cap, dog house, dog show, sheep dog, sheepdog,"
    "tug of war, merry go round, face to face, face first, arm in arm, head first, eye contact,"
    "face down, in front of, shopping cart, horse race, a lot of, lots of, leaves the"
)

# Wider objects and their kinds.
WIDER_OBJECTS = {
    "person": "man, woman, child",
    "child": "boy, girl, baby",
    "animal": "dog, cat, horse, cow, sheep, goat, bird, monkey, camel, deer, elephant, tiger,"
    "bear, zebra, giraffe, rabbit, squirrel, fish, turtle",
    "bike": "bicycle, motorcycle",
    "vehicle": "bike, car, truck, bus, train, boat, airplane, scooter, cart",
    "board": "skateboard, snowboard, surfboard",
    "sport": "soccer, football, basketball, tennis, baseball, hockey, volleyball, rugby, golf,"
    "cricket, lacrosse, polo",
    "toy": "ball, frisbee, balloon",
    "clothes": "shirt, jacket, pants, dress, swimsuit, uniform, suit, costume",
    "instrument": "guitar",
    "water": "ocean, lake, river, pool",
    "hill": "mountain",
    "plant": "tree, flower, grass",
}

# Each line lists mutually exclusive objects.
RIVAL_OBJECTS = (
    "man, woman, boy, girl",
    "man, woman, child",
    WIDER_OBJECTS["animal"],
    "bicycle, motorcycle, car, truck, bus, train, boat, airplane, scooter",
    "skateboard, snowboard, surfboard, skis, sled, skates",
    WIDER_OBJECTS["sport"],
    "ball, frisbee, stick",
    "ocean, lake, river, pool",
    "snow, grass, beach, street",
)

COUNTS = {
    "one": "1, single, lone, alone, solo",
    "two": "2, couple, pair, both, twin, twins, duo",
    "three": "3, trio",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "several": "many, few, various, numerous, multiple, dozens, group, groups, bunch, gang,"
    "lots of, a lot of, a number of, herd, flock, team, teams, row of",
    "crowd": "crowds, crowded, audience",
}
WIDER_COUNTS = {"several": "three, four, five, six, seven, eight, nine, ten, crowd"}
# "one" is more often a pronoun than a count; a pair of glasses is one thing.
NOT_COUNTS = (
    "one of, one another, no one, one in, one on, one is, one wearing, one with, one has, one who,"
    "the other one, one holding, one standing, one sitting, other one, each one,"
    "pair of sunglasses, pair of glasses, pair of jeans, pair of shorts, pair of pants,"
    "pair of skis, pair of scissors, pair of shoes, pair of goggles, pair of boots"
)

COLOURS = {
    "black": "",
    "white": "",
    "grey": "gray, silver, greyish",
    "brown": "brownish",
    "tan": "beige, khaki, cream-colored, cream colored",
    "red": "maroon, crimson, burgundy, reddish",
    "orange": "",
    "yellow": "gold, golden",
    "green": "lime",
    "blue": "navy, turquoise, teal, aqua",
    "purple": "violet, lavender",
    "pink": "magenta",
}
WIDER_COLOURS = {"brown": "tan"}
# Names of things, and black-and-white pictures. Hair colours such as blond are left out.
NOT_COLOURS = (
    "golden retriever, golden retrievers, white water, golden gate, red bull, orange juice,"
    "black and white photo, black and white photograph, black and white picture,"
    "black and white image, snow white, white house, gold medal"
)

# Activities: verbs, whose inflections are derived; other forms follow after the bar.
ACTIVITIES = {
    "run": "run, jog, sprint, gallop, dash, trot | ran, runner, runners, jogger, joggers",
    "chase": "chase, pursue |",
    "race": "race | racer, racers",
    "walk": "walk, stroll, wander | pedestrians",
    "hike": "hike, trek | hiker, hikers",
    "march": "march |",
    "jump": "jump, leap, hop, bounce | mid-jump",
    "dive": "dive | diver, divers",
    "climb": "climb, scale, rappel | climber, climbers",
    "play": "play | player, players",
    "sit": "sit, straddle | sat, seated, sits down",
    "stand": "stand | stood",
    "lie": "lay, rest, relax, lounge | lie, lies, lying, laid, laying",
    "sleep": "sleep, nap | asleep, slept",
    "kneel": "kneel, crouch, squat, bend | knelt, bent",
    "lean": "lean |",
    "hang": "hang, dangle | hung, suspended",
    "ride": "ride | rode, ridden, rider, riders, on horseback",
    "bike": "cycle, pedal | biking, biker, bikers, cyclist, cyclists, bicyclist, bicyclists, bikes "
    "down, bicycling",
    "drive": "drive | drove, driven",
    "surf": "| surfs, surfing, surfed, surfer, surfers, boogie boarding, bodyboarding",
    "skateboard": "| skateboarding, skateboarder, skateboarders, skateboards down, skate boarding",
    "snowboard": "| snowboarding, snowboarder, snowboarders, snowboards down, snow boarding",
    "ski": "| skiing, skier, skiers, skis down, skied, cross-country skiing",
    "skate": "rollerblade | skating, skater, skaters, rollerblader, rollerskating",
    "sled": "| sledding, tubing, tobogganing, sleds down",
    "slide": "| slides, sliding, slid, slides down, slide down",
    "swing": "| swings, swinging, swung",
    "swim": "swim | swam, swum, swimmer, swimmers, snorkeling",
    "wade": "wade |",
    "splash": "splash |",
    "float": "float |",
    "paddle": "paddle, kayak, canoe, row | kayaking, canoeing, rafting, kayaker, kayakers",
    "hold": "hold, carry, clutch, grip, grasp | held",
    "throw": "throw, toss | threw, thrown, pitching",
    "catch": "catch | caught",
    "fetch": "fetch, retrieve | retrieves, retrieving",
    "kick": "kick |",
    "hit": "hit, strike |",
    "push": "push |",
    "pull": "pull, tug, drag | tug of war, tug-of-war",
    "bite": "bite, chew, gnaw | bit, bitten",
    "lick": "lick |",
    "dig": "dig | dug",
    "shake": "shake | shook",
    "bark": "bark, growl |",
    "sniff": "sniff, smell |",
    "fight": "fight, wrestle, tackle | boxing, fought, wrestler, wrestlers",
    "hug": "hug, embrace, cuddle |",
    "kiss": "kiss |",
    "dance": "dance | dancer, dancers, ballet",
    "sing": "sing | sang, singer, singers",
    "perform": "perform | performer, performers, performance",
    "trick": "grind, somersault, backflip, handstand | trick, tricks, stunt, stunts, flip, flips, "
    "flipping, wheelie, handstands",
    "pose": "pose |",
    "look": "look, watch, stare, gaze, observe | overlooking, facing, admiring, admires",
    "smile": "smile, laugh, grin, giggle |",
    "talk": "talk, chat, speak | conversation",
    "shout": "shout, yell, scream, cheer |",
    "point": "point |",
    "wave": "| waving",
    "wait": "wait |",
    "eat": "eat, feed | ate, eaten, fed",
    "drink": "| drinks, drinking, drank, sips, sipping",
    "smoke": "| smokes, smoking",
    "read": "read |",
    "write": "write, draw | writing, drawing, wrote",
    "paint": "| paints, painting",
    "cook": "cook, grill, bake |",
    "work": "work |",
    "shop": "| shopping",
    "fish": "| fishing",
    "fall": "fall, crash, tumble | fell, fallen",
    "fly": "fly, soar | flew, flown, airborne",
    "crawl": "crawl |",
    "roll": "roll |",
    "balance": "balance |",
    "cross": "| crosses, crossing",
    "blow": "blow | blew",
    "photograph": "| photographing, photographs, taking a picture, taking pictures, takes a "
    "picture, taking a photo, taking a photograph, taking photos, photographer",
    "golf": "| golfing, golfer",
}
WIDER_ACTIVITIES = {
    "run": "chase, race",
    "walk": "hike, march",
    "lie": "sleep",
    "ride": "bike, surf, skateboard, snowboard, sled",
    "play": "fetch, golf",
    "perform": "dance, sing, trick",
}
NOT_ACTIVITIES = (
    "flip flop, flip flops, flip-flops, look like, looks like, looking like, parking lot,"
    "fishing pole, fishing rod, bathing suit,"
    "running shoes, walking stick, rest area, rolling hills, diving board, swimming pool,"
    "swimming trunks, wading pool, climbing wall, climbing gear, race car, race cars, race track,"
    "drinking fountain, shopping cart, shopping center, shopping mall, dance floor, play area,"
    "sleeping bag, striking distance, record player, cross country, hit the, writing on,"
    "picnic shelter, work clothes, playing field, hiking trail, hiking gear"
)
